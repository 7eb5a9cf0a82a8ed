"""Who may join which topic: what the application says, by the first of its patterns that a name fits."""

import asyncio
from collections.abc import Iterable

from starlette.requests import HTTPConnection

from qrsocket.context import running_for
from qrsocket.errors import SocketError
from qrsocket.logger import Logger
from qrsocket.server.connection import Connection
from qrsocket.server.failing import error_text, from_the_application, is_for_client, raise_if_ending, refused_by, within
from qrsocket.server.patterns import TopicHandler, first_that_fits
from qrsocket.server.runtime import Node
from qrsocket.users import User

logger = Logger(__name__)

AT_ONCE = 8  # of one client, which may come back with a hundred
NOT_ALLOWED = "Not allowed"


class Joining:
    """The application's word on the topics of one connection."""

    def __init__(
        self,
        connection: Connection,
        node: Node,
        on_join: list[TopicHandler],
        on_leave: list[TopicHandler],
    ) -> None:
        self._connection, self._node, self._on_join, self._on_leave = connection, node, on_join, on_leave

    def has_members(self, topic: str) -> bool:
        found = first_that_fits(self._on_join, topic)
        return found is not None and found[0].has_members

    async def check(self, topic: str) -> None:
        """
        Ask the application whether the connection may join *topic*.

        Raises:
            BaseException: It may not, or that is not known, since a database is down, say.
        """
        error = await self._refusal(topic)
        try:
            if error is not None:
                raise error
        finally:
            del error  # which holds this frame by its traceback

    async def refused(self, topics: Iterable[str]) -> dict[str, str] | None:
        """
        Return those of *topics* that the connection may not join, each with what its client is told. None if it is not
        known of one of them, since a database is down, say: to refuse it would be final.
        """
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(topic: str) -> tuple[str, BaseException | None]:
            async with turns:
                return topic, await self._refusal(topic)

        failed = {topic: error for topic, error in await asyncio.gather(*map(ask, topics)) if error is not None}
        texts = {topic: self._text_of(error, topic) for topic, error in failed.items()}
        return texts if all(map(is_for_client, failed.values())) else None

    def left(self, topic: str) -> None:
        """Tell the application that the connection has left *topic*."""
        if found := first_that_fits(self._on_leave, topic):
            self._node.start(self._tell_left(found, topic), f"left {topic}")

    async def _refusal(self, topic: str) -> BaseException | None:
        found = first_that_fits(self._on_join, topic)
        if found is None:
            logger.debug("topic refused: no pattern of on_join fits it", **self._connection.facts, topic=topic)
            return SocketError(NOT_ALLOWED)
        try:
            await within(self._node.settings.handler_timeout, self._call(found, topic))
        except BaseException as error:
            raise_if_ending(error)
            logger.debug("topic refused", **self._connection.facts, topic=topic, **refused_by(error))
            return error
        return None

    def _text_of(self, error: BaseException, topic: str) -> str:
        facts = {**self._connection.facts, "topic": topic, "request_id": f"{self._connection.id}.join"}
        return error_text(error, facts, debug=self._node.settings.debug)

    async def _tell_left(self, found: tuple[TopicHandler, dict[str, str]], topic: str) -> None:
        try:
            async with self._node.hooks.leaving:  # its time begins with it: thousands may go together
                await within(self._node.settings.hook_timeout, self._call(found, topic))
        except BaseException as error:
            raise_if_ending(error)
            facts = {"hook": found[0].function.name, "topic": topic, **self._connection.facts}
            logger.error("hook failed", exc_info=from_the_application(error), **facts)

    async def _call(self, found: tuple[TopicHandler, dict[str, str]], topic: str) -> None:
        handler, parameters = found
        connection = self._connection
        user = None if connection.user is None else User(connection.user)
        scope = connection.websocket.scope
        asking = HTTPConnection({**scope, "path_params": {**scope.get("path_params", {}), **parameters}})
        with running_for(self._node.context(connection.user, connection.id)):
            await handler.function({"topic": topic, "user": user, "connection": connection.id}, asking)
