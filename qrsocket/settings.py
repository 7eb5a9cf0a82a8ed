"""
Every number and name that an operator may change: unit, default and danger of each. (Over 250 lines: one entry each.)
"""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import AllowInfNan, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from qrsocket import origins, redis_url
from qrsocket.logger import Logger
from qrsocket.signing import Ring, read_keys, ring_of

logger = Logger(__name__)

Seconds = Annotated[float, Gt(0), AllowInfNan(False)]
Bytes = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(1)]


class Settings(BaseSettings):
    """
    Settings of one process, read from the environment as `QRSOCKET_<NAME>`.

    All processes that serve one application must agree on *redis_url*, *prefix*, *application* and *shards*:
    with another value they do not see each other.
    """

    model_config = SettingsConfigDict(
        env_prefix="QRSOCKET_",
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,  # compose files pass them: `${QRSOCKET_LEASE:-}`
        hide_input_in_errors=True,  # an address may hold a password
    )

    redis_url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"),
        description="Address of Redis or Valkey: redis://, rediss://, valkey://, valkeys:// or unix://. In a password, "
        "write %40 for @, %23 for #, %2F for /, %3F for ?.",
    )
    redis_timeout: Seconds = Field(
        default=2.0, description="Seconds for one command, retries included. Then `Unavailable` is raised."
    )
    prefix: str = Field(default="qrsocket", pattern=r"^[\w.-]+$", description="First word of every key and channel.")
    application: str = Field(
        default="app",
        pattern=r"^[\w.-]+$",
        description="Second word of every key and channel. Pub/sub ignores database numbers, so two applications on "
        "one server need two names.",
    )
    signing_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(read_keys)] = Field(
        default=(),
        description="Keys that all processes of the application share, separated by commas. The first signs messages "
        "and orders; a signature by any of them is accepted. Empty: nothing is signed. To introduce or change one, see "
        "docs/security.md.",
    )
    shards: Annotated[int, Ge(1), Le(1024)] = Field(
        default=1, description="Hash slots to spread users over. Changing it loses who is online: restart everything."
    )
    node_name: str = Field(
        default="",
        pattern=r"^[\w.-]{0,64}$",
        description="Name of this web node in logs and in `qrsocket doctor`; the host name when empty.",
    )

    max_message_in_bytes: Bytes = Field(
        default=64 * 1024, description="Largest message taken from a client; then close 1009."
    )
    max_message_out_bytes: Bytes = Field(default=256 * 1024, description="Largest message that `send` takes.")

    max_json_depth: Annotated[int, Ge(1), Le(128)] = Field(
        default=32, description="Levels of arrays and objects in a JSON document, in and out."
    )
    compression: bool = Field(
        default=False,
        description="Let uvicorn compress frames (permessage-deflate). Costs 35 KiB a connection and twice the CPU.",
    )

    handler_timeout: Seconds = Field(default=10.0, description="Seconds for a message handler, unless it says its own.")
    max_handlers_in_flight: Count = Field(
        default=8, description="Messages of one connection handled at once; more wait."
    )
    hook_timeout: Seconds = Field(default=10.0, description="Seconds for an on_online or on_offline hook.")
    max_waiting_bytes: Bytes = Field(
        default=256 * 1024,
        description="Bytes of a connection's messages that wait for handlers; until they are fewer no more are read.",
    )
    rate: Annotated[float, Gt(0), AllowInfNan(False)] = Field(
        default=20.0,
        description="Messages per second that a connection may send. Large messages and long answers about jobs share "
        "this many times 16 KiB, and this many ms of parsing, per second; anything above waits.",
    )
    rate_burst: Count = Field(
        default=60, description="Messages above the rate at once; as many refusals close with 4104."
    )

    max_connections_per_user: Count = Field(
        default=20, description="Open connections of one user, on all nodes; then 4103."
    )
    max_connections_per_node: Annotated[int, Ge(0)] = Field(
        default=0, description="Open connections of one node. 0: the smaller of 10 000 and 0.8 × the open-file limit."
    )
    max_connections_per_address: Annotated[int, Ge(0)] = Field(
        default=0,
        description="Open connections of one address (IPv6: of one /64) on one node; then 429. 0: any number. Many "
        "users share the address of an office or a mobile network, and all have the proxy's if it is not trusted.",
    )
    max_strangers_per_node: Annotated[int, Ge(0)] = Field(
        default=0,
        description="Open connections of one node that wait for `authenticate`; then 503. 0: a tenth of its "
        "connections, at least 100.",
    )
    max_queued_messages: Count = Field(
        default=512, description="Messages that wait for one slow client; then close 4000."
    )
    max_queued_bytes: Bytes = Field(
        default=1024 * 1024, description="Bytes that wait for one slow client; then close 4000."
    )

    auth_deadline: Seconds = Field(
        default=10.0,
        description="Seconds until the first message must have come; then 4100, or the `ready` of a user who is known.",
    )
    head_timeout: Seconds = Field(
        default=5.0,
        description="Seconds for the head of a request, and for the rest of one that is answered, under "
        "`qrsocket serve`; then 408.",
    )
    handshake_timeout: Seconds = Field(
        default=20.0,
        description="Seconds for the application, its middlewares and dependencies included, to accept or refuse a "
        "WebSocket, under `qrsocket serve`; then 503.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(origins.read_all)] = Field(
        default=(),
        description="Origins, such as https://app.example.com, that may connect besides the same host, with commas "
        "between them. * allows every site to act with the visitor's cookies: only for public data.",
    )
    ping_interval: Seconds = Field(default=25.0, description="Seconds between pings to a client.")
    ping_timeout: Seconds = Field(
        default=20.0, description="Seconds for the client's pong; then the connection is dropped."
    )

    lease: Seconds = Field(
        default=15.0,
        description="Seconds after the last renewal for which a node's connections count as open, and a job as "
        "running. A shorter lease finds a killed process sooner, but may take a stalled one for dead.",
    )
    renew_interval: Seconds = Field(
        default=1.0, description="Seconds between two renewals of the lease, each with a reap."
    )
    offline_grace: Annotated[float, Ge(0), AllowInfNan(False)] = Field(
        default=5.0, description="Seconds that a user may be gone, for a page reload say, before `on_offline`."
    )

    drain_seconds: Annotated[float, Ge(0), AllowInfNan(False)] = Field(
        default=10.0,
        description="Seconds over which `qrsocket serve` closes its clients when it is told to stop, a few at a time. "
        "A supervisor must wait 20 s longer before it kills. 0: all at once, as under plain uvicorn.",
    )

    recovery_messages: Annotated[int, Ge(10), Le(100_000)] = Field(
        default=256,
        description="Newest messages kept for each user or topic, for clients that come back and for nodes that missed "
        "some. They fill Redis' memory: streams sent to within the seconds below × messages × size.",
    )
    recovery_seconds: Seconds = Field(
        default=300.0, description="Seconds that they are kept after the last one. A client back later gets a gap."
    )

    job_seconds: Seconds = Field(
        default=3600.0, description="Seconds that the last state of a job is kept after its end, for pages that load."
    )

    job_wait_seconds: Seconds = Field(
        default=24 * 3600.0,
        description="Seconds that a job may wait for a worker, from when it is due. Then it is reported as lost: its "
        "message is gone, or no worker consumes its queue. If shorter, a job far back in the queue may be reported as "
        "lost; if it runs after all, its end is still reported.",
    )

    trail_seconds: Annotated[float, Ge(0), AllowInfNan(False)] = Field(
        default=0.0,
        description="Seconds for which the way of each message is kept in Redis, ids only, for `qrsocket why`. 0: it "
        "is not. Doubles what a send costs Redis, and takes its memory. `qrsocket dev` sets 3600.",
    )

    debug: bool = Field(
        default=False,
        description="Tell clients the text of unexpected exceptions. Never in production: it shows secrets.",
    )

    @property
    def ring(self) -> Ring | None:
        """What messages are signed by; None: they are not."""
        return ring_of(self.signing_keys, f"{self.prefix}\t{self.application}")

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.lease < 3 * self.renew_interval:
            raise ValueError("lease must be at least 3 times renew_interval: one lost renewal must not kill a node")
        if self.max_queued_bytes < self.max_message_out_bytes:
            raise ValueError("max_queued_bytes must be at least max_message_out_bytes: it must hold one message")
        return self

    @field_validator("redis_url")
    @classmethod
    def _read_address(cls, url: SecretStr) -> SecretStr:
        return SecretStr(redis_url.read(url.get_secret_value()))


class InvalidSettings(ValueError):
    """Raised when a variable of the environment has a wrong value. The text names each, and never its value."""


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """
    Return the settings of this process, read once; `get_settings.cache_clear()` reads them again.

    Raises:
        InvalidSettings: One of them is wrong.
    """
    for hint in misnamed(os.environ):
        logger.warning("%s", hint)
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings("; ".join(map(_problem, error.errors(include_input=False)))) from None


def _problem(error: ErrorDetails) -> str:
    problem = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # two settings that do not go together
        return f"the settings QRSOCKET_* are wrong: {problem}"
    name = str(error["loc"][0])
    default = Settings.model_fields[name].default
    works = f" (the default is {default})" if isinstance(default, int | float | str) and default != "" else ""
    return f"QRSOCKET_{name.upper()} is wrong: {problem}{works}"


def misnamed(environment: Iterable[str]) -> list[str]:
    """Say of each name in *environment* that looks like that of a setting, and is none, which one may be meant."""
    hints = []
    for name in sorted(environment):
        prefix, setting = name[:9], name[9:].lower()
        if prefix.upper() == "QRSOCKET_" and setting not in Settings.model_fields:
            meant = get_close_matches(setting, Settings.model_fields, n=1)
            hints.append(f"{name} is no setting" + (f": QRSOCKET_{meant[0].upper()} may be meant" if meant else ""))
    return hints
