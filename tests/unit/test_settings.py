"""Settings come from the environment, are what they say, and keep the password to themselves."""

import logging
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from qrsocket.settings import InvalidSettings, Settings, get_settings
from tests.conftest import Configure

OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "redis_url": ("redis://elsewhere:1/2", "redis://elsewhere:1/2"),
    "redis_timeout": ("0.5", 0.5),
    "prefix": ("other", "other"),
    "application": ("shop", "shop"),
    "shards": ("3", 3),
    "node_name": ("web-1", "web-1"),
    "max_message_in_bytes": ("1", 1),
    "max_message_out_bytes": ("2", 2),
    "max_json_depth": ("33", 33),
    "compression": ("true", True),
    "handler_timeout": ("3", 3.0),
    "max_handlers_in_flight": ("4", 4),
    "max_waiting_bytes": ("1000", 1000),
    "hook_timeout": ("5", 5.0),
    "signing_keys": ("k" * 32, ("k" * 32,)),
    "rate": ("6.5", 6.5),
    "rate_burst": ("7", 7),
    "max_connections_per_user": ("8", 8),
    "max_connections_per_node": ("9", 9),
    "max_connections_per_address": ("11", 11),
    "max_strangers_per_node": ("17", 17),
    "max_queued_messages": ("10", 10),
    "max_queued_bytes": ("2000000", 2000000),
    "auth_deadline": ("12", 12.0),
    "head_timeout": ("18", 18.0),
    "handshake_timeout": ("19", 19.0),
    "allowed_origins": ('["https://app.example.com"]', ("https://app.example.com",)),
    "ping_interval": ("13", 13.0),
    "ping_timeout": ("14", 14.0),
    "lease": ("16", 16.0),
    "renew_interval": ("2", 2.0),
    "offline_grace": ("0", 0.0),
    "drain_seconds": ("30", 30.0),
    "recovery_messages": ("32", 32),
    "recovery_seconds": ("60", 60.0),
    "job_seconds": ("60", 60.0),
    "job_wait_seconds": ("600", 600.0),
    "trail_seconds": ("600", 600.0),
    "debug": ("true", True),
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"QRSOCKET_{name.upper()}", raising=False)


def value_of(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    if name == "signing_keys":
        return tuple(key.get_secret_value() for key in value)
    return value.get_secret_value() if name == "redis_url" else value


def test_defaults() -> None:
    """
    The defaults are those of the documentation.
    """
    settings = Settings()

    assert "redis://localhost:6379/0" == value_of(settings, "redis_url")
    assert (64 * 1024, 256 * 1024) == (settings.max_message_in_bytes, settings.max_message_out_bytes)
    assert (10.0, 8) == (settings.handler_timeout, settings.max_handlers_in_flight)
    assert (20.0, 60) == (settings.rate, settings.rate_burst)
    assert (20, 0) == (settings.max_connections_per_user, settings.max_connections_per_node)
    assert (0, 0) == (settings.max_connections_per_address, settings.max_strangers_per_node)
    assert (5.0, 20.0) == (settings.head_timeout, settings.handshake_timeout)
    assert (512, 1024 * 1024) == (settings.max_queued_messages, settings.max_queued_bytes)
    assert (25.0, 20.0) == (settings.ping_interval, settings.ping_timeout)
    assert (15.0, 1.0, 5.0) == (settings.lease, settings.renew_interval, settings.offline_grace)
    assert (2.0, 10.0) == (settings.redis_timeout, settings.auth_deadline)
    assert (256, 300.0) == (settings.recovery_messages, settings.recovery_seconds)
    assert ("qrsocket", "app", 1, (), False) == (
        settings.prefix,
        settings.application,
        settings.shards,
        settings.allowed_origins,
        settings.debug,
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_read_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `QRSOCKET_<NAME>` changes the setting of that name, and no other.
    """
    text, expected = OTHER_VALUES[name]
    before = Settings()
    monkeypatch.setenv(f"QRSOCKET_{name.upper()}", text)

    after = Settings()

    assert expected == value_of(after, name) != value_of(before, name)
    assert before.model_dump(exclude={name}) == after.model_dump(exclude={name})


def test_settings_are_read_once(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `get_settings` answers the same until its cache is cleared.
    """
    configure(lease=3)
    first = get_settings()
    monkeypatch.setenv("QRSOCKET_LEASE", "4")

    assert first is get_settings()
    get_settings.cache_clear()
    assert (3.0, 4.0) == (first.lease, get_settings().lease)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_value_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A variable that is there and empty, as compose files pass them, changes nothing.
    """
    before = Settings()
    monkeypatch.setenv(f"QRSOCKET_{name.upper()}", "")

    assert before == Settings()


def test_a_misspelt_name_is_told(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A variable that looks like a setting and is none is in the log when settings are read, with what may be meant.
    """
    configure(allowed_origin="https://a.example", leese=1)
    monkeypatch.setenv("qrsocket_rate", "20")
    monkeypatch.setenv("QRSOCKET_XYZ", "1")

    get_settings()

    assert [
        "QRSOCKET_ALLOWED_ORIGIN is no setting: QRSOCKET_ALLOWED_ORIGINS may be meant",
        "QRSOCKET_LEESE is no setting: QRSOCKET_LEASE may be meant",
        "QRSOCKET_XYZ is no setting",
    ] == caplog.messages


def test_the_password_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """
    Settings that are printed, dumped or logged do not show the password.
    """
    settings = Settings(redis_url=SecretStr("redis://:canary@h"))

    with caplog.at_level(logging.INFO):
        logging.getLogger(__name__).info("%s %r %s", settings, settings, settings.model_dump_json())

    assert "redis_url" in caplog.text
    assert "canary" not in caplog.text


def test_settings_are_frozen() -> None:
    """
    A setting cannot be changed in place, so that settings may be a key of a cache.
    """
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.lease = 1.0  # type: ignore[misc]
    assert hash(settings) == hash(Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease", 0),
        ("lease", 2.9),
        ("lease", "nan"),
        ("lease", "inf"),
        ("redis_timeout", -1),
        ("rate", "nan"),
        ("offline_grace", -0.1),
        ("rate_burst", 0),
        ("max_message_in_bytes", 0),
        ("max_connections_per_node", -1),
        ("shards", 0),
        ("shards", 1025),
        ("prefix", ""),
        ("prefix", "a:b"),
        ("prefix", "a\n"),
        ("application", "{q1}"),
        ("node_name", "a\tb"),
        ("node_name", "x" * 65),
        ("leese", 1),
    ],
)
def test_a_bad_value_is_refused(name: str, value: object) -> None:
    """
    What makes no sense, or would break a key or a frame, is refused by name; so is a name that does not exist.
    """
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("LEASE", "sesame", r"QRSOCKET_LEASE is wrong: .*number.* \(the default is 15\.0\)"),
        ("PREFIX", "se same", r"QRSOCKET_PREFIX is wrong: .*pattern.* \(the default is qrsocket\)"),
        ("LEASE", "1", "QRSOCKET_.* are wrong: lease must be at least 3 times renew_interval"),
        ("REDIS_URL", "http://sesame@x", "QRSOCKET_REDIS_URL is wrong"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str) -> None:
    """
    With a value that works, and without its own: it may be a secret.
    """
    monkeypatch.setenv(f"QRSOCKET_{name}", value)
    get_settings.cache_clear()

    with pytest.raises(InvalidSettings, match=text) as raised:
        get_settings()
    assert "sesame" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_each_setting_says_what_it_does() -> None:
    """
    Each setting has a description.
    """
    assert [] == [name for name, field in Settings.model_fields.items() if not field.description]
