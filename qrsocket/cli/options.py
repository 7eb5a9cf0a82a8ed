"""All settings, for `qrsocket settings`: the name in the environment, the value here, and what it is about."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from qrsocket.settings import Settings


def print_settings(console: Console) -> None:
    """Print a table on a terminal; otherwise what an .env file takes, with comments."""
    if not console.is_terminal:
        for name, default, description in _settings():
            console.print(f"# {description}\n{name}={default}\n", markup=False, soft_wrap=True)
        return
    table = Table("Name", "Default", "What it is about", box=None, header_style="bold", pad_edge=False)
    for row in _settings():
        table.add_row(*row)
    console.print(table)


def _settings() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if name == "redis_url" else "" if default == () else str(default)
        yield f"QRSOCKET_{name.upper()}", shown, field.description or ""
