"""What `qrsocket dev` shows: the lines of all processes, each behind the name of its process."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

OWN_NAME = "dev"
COLOURS = ("green", "blue", "magenta", "yellow", "cyan", "bright_green", "bright_blue", "bright_magenta")


class Screen:
    """Plain where Rich finds no terminal, without colours where NO_COLOR is set."""

    def __init__(self, console: Console, names: Iterable[str]) -> None:
        self.console = console
        self._style = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
        self._width = max(map(len, (OWN_NAME, *self._style)))

    @property
    def has_colours(self) -> bool:
        return self.console.is_terminal and not self.console.no_color

    def line(self, name: str, text: str) -> None:
        """Show a line of a process, with its colours if it has some."""
        self._print(name, self._style.get(name, ""), Text.from_ansi(text))

    def say(self, text: str, style: str = "") -> None:
        """Show a line of our own."""
        self._print(OWN_NAME, "bold", Text(text, style))

    def fail(self, text: str) -> None:
        self.say(text, "bold red")

    def _print(self, name: str, style: str, text: Text) -> None:
        # Not wrapped: a line of a log is to stay one line.
        self.console.print(Text.assemble((f"{name:<{self._width}} | ", style), text), soft_wrap=True, highlight=False)
