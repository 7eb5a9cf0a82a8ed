"""The smallest applications that the tests share."""

from typing import Any

from qrsocket import User, socket
from qrsocket.server import SocketRouter


def router_of_named_users(path: str = "/socket") -> SocketRouter:
    """A router that believes the `user` of the query, and sends back what it gets, to the sender's user."""
    router = SocketRouter(path)

    @router.on_connect
    async def on_connect(query: dict[str, str]) -> User | None:
        return User(query["user"]) if "user" in query else None

    @router.on_message
    async def on_message(data: Any) -> None:
        await socket.send({"echo": data})

    return router
