"""Opening a WebSocket, and saying why it could not be opened."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Origin, Subprotocol

VERSION_1 = Subprotocol("qrsocket.v1")
CLOSE_TIMEOUT = 0.5


class Refused(AssertionError):
    """
    Raised when the handshake was answered with something else than a WebSocket.

    Attributes:
        status: Of HTTP.
        body: What came with it; `{"detail": …}` in most cases.
    """

    def __init__(self, url: str, status: int, body: str) -> None:
        hint = ": is there a SocketRouter at this path?" if status in (403, 404) and not body else ""
        super().__init__(f"{url} refused the connection: HTTP {status} {body}".rstrip() + hint)
        self.status, self.body = status, body


@dataclass(frozen=True, slots=True)
class Target:
    """
    Where a client connects to, and what it shows there.

    Attributes:
        address: `<host>:<port>`
        headers: Of every connection and request. With `Host` another host is asked for, at the same address.
    """

    address: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address as a page of this host would name it."""
        return f"http://{self._named('host') or self.address}"

    def _named(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name), None)

    async def open(self, *, timeout: float) -> ClientConnection:
        """
        Connect as a page of this host does, speaking `qrsocket.v1`.

        Raises:
            Refused: The handshake was refused.
            AssertionError: It was not answered within *timeout* seconds, or by what does not speak `qrsocket.v1`.
        """
        host, _, port = self.address.rpartition(":")
        query = f"?{urlencode(self.query, doseq=True)}" if self.query else ""
        url = f"ws{self.url.removeprefix('http')}{self.path}"
        try:
            connection = await connect(
                url + query,
                host=host,
                port=int(port),
                origin=Origin(self._named("origin") or self.url),
                subprotocols=[VERSION_1],
                additional_headers=self._headers(),
                proxy=None,  # the environment may name one
                compression=None,
                open_timeout=timeout,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=None,
                max_size=None,
                max_queue=None,  # what comes is read at once, as browsers do
            )
        except InvalidStatus as error:
            body = error.response.body.decode(errors="replace") if error.response.body else ""
            raise Refused(url, error.response.status_code, body) from None
        except TimeoutError:
            raise AssertionError(f"{url} did not answer the handshake within {timeout:g} s") from None
        except (OSError, EOFError, InvalidMessage, InvalidHandshake) as error:
            raise AssertionError(f"{url} could not be connected to: {error or type(error).__name__}") from error
        if connection.subprotocol != VERSION_1:
            await connection.close()
            raise AssertionError(f"{url} is a WebSocket that does not speak {VERSION_1}: no SocketRouter serves it")
        return connection

    def _headers(self) -> dict[str, str]:
        # The library writes these two itself, and would write them twice.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "origin")}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return headers


def path_of(app: Any) -> str:
    """Return the path of the first SocketRouter of *app*; `/socket` where it cannot be found."""
    try:
        path = app.url_path_for("socket")  # as SocketRouter names its route
    except Exception:  # not of Starlette's; or it has none, or only in a part that is mounted
        return "/socket"
    return str(path) if getattr(path, "protocol", "") == "websocket" else "/socket"
