"""HTTP requests of a test client."""

from typing import TYPE_CHECKING

from qrsocket.testing.opening import Target

if TYPE_CHECKING:
    from httpx2 import AsyncClient


def http_client(target: Target) -> "AsyncClient":
    """
    Return an HTTP client that shows what *target* says.

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
    return httpx.AsyncClient(
        base_url=f"http://{target.address}",
        headers=target.headers,
        cookies=target.cookies,
        trust_env=False,  # it may name a proxy
        follow_redirects=False,
    )
