"""What the handshake says of a connection, and whether there is a slot for it."""

from typing import NamedTuple

from starlette.websockets import WebSocket

from qrsocket.errors import CloseCode, TokenExpired
from qrsocket.server.exchange import Arrival
from qrsocket.server.handlers import Handlers
from qrsocket.server.handshake import Refusal, Subprotocols, shake_hands
from qrsocket.server.runtime import Node
from qrsocket.server.slots import Slot
from qrsocket.users import User


class Welcome(NamedTuple):
    """
    What the handshake has said.

    Attributes:
        topics: To be joined from the start.
        closing: Code and reason, if it is accepted only to be closed: a browser sees no code otherwise.
        slot: That it has on the node.
    """

    user: User | None
    offered: Subprotocols
    topics: list[str]
    closing: tuple[CloseCode, str] | None
    slot: Slot


async def welcome(websocket: WebSocket, handlers: Handlers, node: Node, slot: Slot, *, is_full: bool) -> Welcome:
    """
    Ask who comes.

    Raises:
        Exception: It is refused, see `shake_hands`, or one more stranger than there are slots for.
    """
    offered, arrival = Subprotocols(websocket.scope.get("subprotocols", [])), Arrival()
    if is_full:  # it does not matter who comes
        return Welcome(None, offered, [], (CloseCode.OVERLOADED, "this node is full"), slot)
    try:
        user = await shake_hands(websocket, handlers.on_connect, node.settings, subprotocols=offered, arrival=arrival)
    except TokenExpired:
        return Welcome(None, offered, arrival.topics, (CloseCode.TOKEN_EXPIRED, "the token has expired"), slot)
    if user is None and handlers.authenticate is not None and not slot.be_stranger():
        raise Refusal(503, "Too many connections wait to be authenticated", {"Retry-After": "5"})
    closing = (CloseCode.RESTART, "the node stops") if node.is_draining else None
    return Welcome(user, offered, arrival.topics, closing, slot)
