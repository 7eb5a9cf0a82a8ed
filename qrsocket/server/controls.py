"""What a client asks of us, and not of the application: its jobs, and the topics that it joins and leaves."""

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from qrsocket.errors import SocketError
from qrsocket.server.connection import Connection
from qrsocket.server.hello import MAX_OFFSET, read_position
from qrsocket.server.jobs import NO_SUCH_JOB, JobQueries
from qrsocket.server.runtime import Node
from qrsocket.server.subscriptions import Subscriptions
from qrsocket.server.wire import Inbound
from qrsocket.topics import topic_name


def proof_in(auth: Any) -> str:
    """Return what a hello, or an `!auth`, says of who it is, as the message that `authenticate` takes."""
    return to_json(auth).decode()


async def answer(
    inbound: Inbound, connection: Connection, subscriptions: Subscriptions, node: Node, charge: Callable[[int], None]
) -> None:
    """
    Do what a client asks, and answer it. What we do not know is ignored, unless it wants an answer.

    Args:
        charge: Gets the bytes of each frame of the answer.

    Raises:
        SocketError: It cannot be done.
        Unavailable: Redis did not answer.
    """
    fields, request = inbound.fields, inbound.request
    match inbound.control:
        case "join":
            since = read_position("!join", fields.get("since") or {})
            # Charged, since it has all members: whoever joins and leaves again and again gets that list each time.
            charge(await subscriptions.join(_topic_in(fields), since, is_asked=True, request=request))
        case "leave":
            await subscriptions.leave(_topic_in(fields), "asked", request)
        case "jobs":
            charge(connection.tell("jobs", jobs=await JobQueries(node, connection.stream).listed()))
        case "cancel" | "read":
            await _answer_about_job(inbound, connection, node, charge)
        case "hello":
            raise SocketError("!hello is the first frame, or none")
        case unknown:
            if request is not None:
                raise SocketError(f"!{unknown} is not known here")


async def _answer_about_job(
    inbound: Inbound, connection: Connection, node: Node, charge: Callable[[int], None]
) -> None:
    control, id, after = inbound.control, inbound.fields.get("job", ""), inbound.fields.get("after", 0)
    if not isinstance(id, str) or type(after) is not int or not 0 <= after <= MAX_OFFSET:
        raise SocketError(f'!{control}: "job" is the id of a job, and "after" a number')
    jobs = JobQueries(node, connection.stream)
    job = await (jobs.cancel(id) if control == "cancel" else jobs.find(id))
    if job is None:
        raise SocketError(NO_SUCH_JOB)
    if control == "cancel":
        charge(connection.tell("job", job=job, request=inbound.request))
        return
    async for piece in jobs.pieces(id, after):
        await connection.wait_written()
        if connection.closing is not None:
            return
        charge(connection.tell("chunk", chunk=piece))


def _topic_in(fields: dict[str, Any]) -> str:
    try:
        return topic_name(fields.get("topic"))
    except ValueError as error:
        raise SocketError(str(error)) from None
