"""What a run tells about its progress; the command line shows it, tests and scripts are silent."""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Listens to a run."""

    def begin(self, label: str, length: int | None) -> None:
        """A stage of `length` ticks begins; None: nobody knows how many."""

    def tick(self, count: int = 1) -> None:
        """So many of them are done."""

    def note(self, text: str) -> None:
        """Something worth a line of its own happened."""


class Silent:
    """Tells nobody."""

    def begin(self, label: str, length: int | None) -> None: ...

    def tick(self, count: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...


def counter(progress: Progress, label: str) -> Callable[[int, int | None], None]:
    """A function for those who report (done, total); less done than before begins a new stage."""
    seen: list[int] = []

    def report(done: int, total: int | None) -> None:
        if not seen or done < seen[-1]:
            progress.begin(label, total)
            seen.append(0)
        progress.tick(done - seen[-1])
        seen.append(done)

    return report
