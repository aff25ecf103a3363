"""Progress of a run: the command line shows it, scripts and tests need not."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Methods that a run calls while it works."""

    def begin(self, label: str, length: int | None, alike: bool = True) -> None:
        """Begin a stage of `length` ticks; None if the number is unknown.

        Ticks that are not alike give no estimate of the time that is left.
        """

    def tick(self, count: int = 1) -> None:
        """Count some ticks of the stage as done."""

    def note(self, text: str) -> None:
        """Show a line."""


class Silent:
    """A Progress that shows nothing."""

    def begin(self, label: str, length: int | None, alike: bool = True) -> None: ...

    def tick(self, count: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def counter(progress: Progress, label: str) -> Callable[[int, int | None], None]:
    """Adapt a Progress to functions that call back with (done, total).

    A smaller `done` than before begins a new stage.
    """
    before: int | None = None

    def on_count(done: int, total: int | None) -> None:
        nonlocal before
        if before is None or done < before:
            progress.begin(label, total)
            before = 0
        progress.tick(done - before)
        before = done

    return on_count
