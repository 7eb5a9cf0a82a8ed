"""HTTP requests of a test client."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qrsocket.testing.opening import Target

if TYPE_CHECKING:
    from httpx2 import AsyncClient


def http_client(target: Target, connection: Callable[[], dict[str, str]]) -> "AsyncClient":
    """
    Return an HTTP client that shows what *target* says.

    Args:
        connection: Gives the headers that tell which connection a request is of.

    Raises:
        RuntimeError: Neither httpx2 nor httpx is installed.
    """
    try:
        import httpx2 as httpx  # what FastAPI's own TestClient needs: most have it, but nothing else of us needs it
    except ImportError:
        try:
            import httpx  # type: ignore[import-not-found,no-redef]
        except ImportError:
            raise RuntimeError("`http` needs an HTTP client: `pip install httpx2`") from None

    async def add_connection(request: Any) -> None:
        for name, value in connection().items():
            request.headers.setdefault(name, value)  # a test may say another

    return httpx.AsyncClient(
        base_url=f"http://{target.address}",
        headers=target.headers,
        event_hooks={"request": [add_connection]},
        cookies=target.cookies,
        trust_env=False,  # it may name a proxy
        follow_redirects=False,
    )
