"""`qrsocket settings`: every setting, as an .env file takes it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qrsocket.cli.app import app
from qrsocket.settings import Settings


def test_every_setting_is_listed_with_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What it prints is an .env file that names every setting and changes none.
    """
    monkeypatch.delenv("QRSOCKET_REDIS_URL", raising=False)
    result = CliRunner().invoke(app, ["settings"])
    file = tmp_path / ".env"
    file.write_text(result.stdout)

    named = {line.partition("=")[0] for line in result.stdout.splitlines() if line and not line.startswith("#")}

    assert {f"QRSOCKET_{name.upper()}" for name in Settings.model_fields} == named
    assert Settings.model_construct() == Settings(_env_file=file)  # type: ignore[call-arg]


def test_a_misspelt_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A variable that is no setting is named on standard error, so that the .env file stays one.
    """
    monkeypatch.setenv("QRSOCKET_LEESE", "1")
    result = CliRunner().invoke(app, ["settings"])

    assert "qrsocket: QRSOCKET_LEESE is no setting: QRSOCKET_LEASE may be meant\n" == result.stderr
    assert "LEESE" not in result.stdout
