"""Tokens to verify, right and wrong, and a provider that publishes keys over real HTTP."""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.clients import PATIENCE

SECRET = "0123456789abcdef" * 4
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()


def pem(private: Any) -> str:
    text: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def claims(**changed: Any) -> dict[str, Any]:
    return {"sub": "alice", "exp": time.time() + 60, **changed}


def sign(payload: dict[str, Any] | bytes, key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    """Sign a payload as it is: claims that PyJWT would not sign, and bytes that are no claims at all."""
    words = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return pyjwt.PyJWS().encode(words, key, algorithm, headers=headers)


def segment(value: Any) -> str:
    words = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(words).rstrip(b"=").decode()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent of a client that did not wait for its answer."""


class Provider:
    """A real HTTP server on loopback that publishes keys."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.body: bytes | None = None
        self.status = 200
        self.requests = 0
        self.never_ends = False
        self.may_answer = Event()
        self.may_answer.set()
        self.asked = Event()
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"

    def publish(self, private: Any, **members: Any) -> None:
        algorithms: dict[type, Any] = {
            rsa.RSAPrivateKey: pyjwt.algorithms.RSAAlgorithm,
            ec.EllipticCurvePrivateKey: pyjwt.algorithms.ECAlgorithm,
            ed25519.Ed25519PrivateKey: pyjwt.algorithms.OKPAlgorithm,
        }
        to_jwk = next(algorithm.to_jwk for kind, algorithm in algorithms.items() if isinstance(private, kind))
        self.keys.append({**to_jwk(private.public_key(), as_dict=True), "use": "sig", **members})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests += 1
                provider.asked.set()
                provider.may_answer.wait(PATIENCE)
                moved = self.path.endswith("/moved")
                body = provider.body if provider.body is not None else json.dumps({"keys": provider.keys}).encode()
                self.send_response(302 if moved else provider.status)
                self.send_header("Location", provider.url)
                if not provider.never_ends:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                ends = time.monotonic() + PATIENCE
                while provider.never_ends and time.monotonic() < ends:
                    self.wfile.write(b" ")
                    time.sleep(0.01)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
