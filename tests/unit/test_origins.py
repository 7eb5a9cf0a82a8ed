"""Allowed origins: what people write becomes what browsers send, and what can never match is refused."""

import pytest
from pydantic import ValidationError

from qrsocket.settings import Settings

A, B = "https://a.example", "https://b.example"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QRSOCKET_ALLOWED_ORIGINS", raising=False)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        (A, (A,)),
        (f"{A},{B}", (A, B)),
        (f" {A} , {B}, ", (A, B)),
        (f"{A} {B}\n", (A, B)),
        (f'["{A}", "{B}"]', (A, B)),
        (f'["{A}"]', (A,)),
        ("[]", ()),
        ("", ()),
        ("  ", ()),
        ("*", ("*",)),
        (f'"{A}, {B}"', (A, B)),
        (f"{A},{A}/", (A,)),
    ],
)
def test_what_people_write(text: str, origins: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    One, several with commas or spaces between them, a JSON list, or none.
    """
    monkeypatch.setenv("QRSOCKET_ALLOWED_ORIGINS", text)

    assert origins == Settings().allowed_origins


@pytest.mark.parametrize("written", [[A, B], (A, B), f"{A} {B}"])
def test_in_code(written: object) -> None:
    """
    A list, a tuple and text are the same in code.
    """
    assert (A, B) == Settings(allowed_origins=written).allowed_origins  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.example/", A),
        ("HTTPS://A.Example", A),
        ("https://a.example:443", A),
        ("http://a.example:80/", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_as_browsers_send_it(written: str, sent: str) -> None:
    """
    Small letters, no default port, no slash at the end, hosts in ASCII.

    Source: https://html.spec.whatwg.org/multipage/browsers.html#ascii-serialisation-of-an-origin
    """
    assert (sent,) == Settings(allowed_origins=(written,)).allowed_origins


@pytest.mark.parametrize(
    ("written", "what_to_write"),
    [
        ("a.example", "write https://a.example"),
        ("localhost:5173", "write https://localhost:5173"),
        ("//a.example", "no scheme"),
        ("https://a.example/app", "the scheme, the host and the port alone"),
        ("https://a.example?x=1", "the scheme, the host and the port alone"),
        ("https://a.example#x", "the scheme, the host and the port alone"),
        ("https://*.a.example", r"write each one, or \* alone"),
        ("https://*", r"write each one, or \* alone"),
        ("*.a.example", "no scheme"),
        ("wss://a.example", "write https://a.example"),
        ("ws://localhost:8000/", "write http://localhost:8000"),
        ("null", "'null' is every page without an origin"),
        ("https://", "no host"),
        ("https://a.example:x", "no number"),
        ("https://straße.example", "xn--"),
        ("[https://a.example]", "without brackets"),
        ("[1]", "with commas between them"),
    ],
)
def test_what_can_never_match(written: str, what_to_write: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No browser sends it: settings refuse it, by name, and say what to write.
    """
    monkeypatch.setenv("QRSOCKET_ALLOWED_ORIGINS", f"{A},{written}" if written[0] != "[" else written)

    with pytest.raises(ValidationError, match=f"(?s)allowed_origins.*{what_to_write}"):
        Settings()


def test_a_password_is_not_shown() -> None:
    """
    Of an origin with a user and a password only the kind of fault is told.
    """
    with pytest.raises(ValidationError, match="an origin is more than an origin: write") as refusal:
        Settings(allowed_origins=("https://bob:canary@a.example",))

    assert "canary" not in str(refusal.value)


def test_no_collection_of_text() -> None:
    """
    Anything else is refused, too.
    """
    for odd in (1, {A: 1}, [None], b"https://a.example"):
        with pytest.raises(ValidationError, match="must be origins"):
            Settings(allowed_origins=odd)  # type: ignore[arg-type]
