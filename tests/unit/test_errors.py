"""What errors say, and to whom."""

import pickle

import pytest

from qrsocket import errors
from qrsocket.errors import (
    CloseCode,
    HandlerTimeout,
    InvalidJson,
    InvalidToken,
    InvalidTopic,
    InvalidUserId,
    MessageTooLarge,
    NoConnection,
    NoRecipient,
    NotAuthenticated,
    NotSerializable,
    QRSocketError,
    SocketError,
    TokenExpired,
    TooManyRecipients,
    Unavailable,
)

TEXTS = [
    (SocketError("The file is empty"), "The file is empty"),
    (NoRecipient(), "socket.to(user_id)"),
    (TooManyRecipients(10_000), "more than 10000 recipients in one call: send to them in batches of 10000"),
    (InvalidUserId("why"), "why"),
    (InvalidTopic("why"), "why"),
    (NoConnection(), "no current connection here"),
    (InvalidToken(), "Invalid token"),
    (TokenExpired(), "Token expired"),
    (NotSerializable("why"), "why"),
    (InvalidJson("Invalid JSON"), "Invalid JSON"),
    (MessageTooLarge(11, 10), "a message of 11 bytes is over the limit of 10"),
    (Unavailable("no answer", 2.0), "Redis did not take it within 2 s (no answer); `qrsocket doctor`"),
    (Unavailable("OOM", 0.25), "within 0.25 s (OOM)"),
    (HandlerTimeout(10.0), "Timeout: no answer within 10 s"),
    (NotAuthenticated(), "another user"),
]


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_an_error_says_what_is_wrong(error: QRSocketError, text: str) -> None:
    """
    The text has the facts and what to do; the error can be caught as QRSocketError.
    """
    assert text in str(error)


@pytest.mark.parametrize("error", [error for error, _ in TEXTS], ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: QRSocketError) -> None:
    """
    An error comes out of a process pool or a Celery result as it went in.
    """
    copy = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))


def test_each_error_is_tested() -> None:
    """
    No error of the module is missing above.
    """
    ours = {error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, QRSocketError)}

    assert ours - {QRSocketError} == {type(error) for error, _ in TEXTS}


def test_a_close_code_says_whether_to_come_back() -> None:
    """
    Our own codes are 40xx (come back) or 41xx (do not); the others are those of RFC 6455.
    """
    codes = {code.value: code.name for code in CloseCode}

    assert {
        1000: "NORMAL",
        1008: "POLICY",
        1009: "TOO_BIG",
        1011: "INTERNAL_ERROR",
        1012: "RESTART",
        1013: "OVERLOADED",
        4000: "SLOW_CONSUMER",
        4001: "TOKEN_EXPIRED",
        4004: "POSITION_LOST",
        4100: "NOT_AUTHENTICATED",
        4101: "REVOKED",
        4103: "TOO_MANY_CONNECTIONS",
        4104: "ABUSE",
    } == codes
