"""Bodies of requests: forms that never end, that are too long, or of thousands of fields."""

import time
from contextlib import ExitStack

from tests.attacks.node import Node
from tests.attacks.raw import Raw
from tests.attacks.witness import Witness

FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'


def head(size_bytes: int, kind: str = FORM) -> bytes:
    words = f"POST /socket/upload?user=mallory HTTP/1.1\r\nHost: node\r\nContent-Type: {kind}\r\n"
    return f"{words}Content-Length: {size_bytes}\r\n\r\n".encode()


def test_uploads_that_trickle(node: Node, bob: Witness) -> None:
    """
    Fifty uploads that come byte by byte take little memory, and nobody else waits.
    """
    before = node.memory_mib
    with ExitStack() as stack:
        uploads = [stack.enter_context(Raw(node.address)) for _ in range(50)]
        for upload in uploads:
            upload.send(head(1_000_000) + PART + b"x" * 50_000)
        ends = time.monotonic() + 1
        while time.monotonic() < ends:
            for upload in uploads:
                upload.send(b"x")
        assert node.memory_mib - before < 50 * 2  # 50 kB each, and a parser


def test_an_upload_that_is_too_long(node: Node, bob: Witness) -> None:
    """
    More than the endpoint takes is answered with 413 when so much has come, and not read to its end.
    """
    before = node.memory_mib
    with Raw(node.address) as raw:
        raw.send(head(10**9) + PART)
        while raw.send(b"x" * 65_536):
            pass

        assert raw.answer() in ("413", "cut off")  # what is sent on to a connection that is closed cuts it off
    assert node.memory_mib - before < 30


def test_a_form_of_thousands_of_fields(node: Node, bob: Witness) -> None:
    """
    A form of many fields is refused, and delays nobody.
    """
    fields = b"&".join(b"f%d=1" % number for number in range(60_000))
    with Raw(node.address) as raw:
        raw.send(head(len(fields), "application/x-www-form-urlencoded") + fields)
        raw.wait_for(b"HTTP/1.1 4")
