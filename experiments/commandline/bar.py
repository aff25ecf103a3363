"""The display of progress on stderr: a bar or a time on a terminal, a line a minute in a file."""

import sys
import time
from datetime import timedelta
from threading import Event, Thread

import click

SECOND, MINUTE = 1, 60  # between two lines on a terminal, where one overwrites the other; in a file


class Bar:
    """Progress on stderr: a bar with an estimate on a terminal, and a line for each epoch.

    The bar is as wide as the terminal. A stage of unknown length shows its seconds in place of a
    bar. In a file each stage with a bar has a line at its beginning, and every stage one a minute.
    """

    def __init__(self):
        self.stage: _Counted | _Timed | None = None

    def begin(self, label: str, length: int | None, alike: bool = True) -> None:
        self.close()
        self.stage = _Counted(label, length, alike) if length else _Timed(label)

    def tick(self, count: int = 1) -> None:
        self.stage.tick(count)

    def note(self, text: str) -> None:
        click.echo(("\r\033[K" if sys.stderr.isatty() else "") + text, err=True)

    def close(self) -> None:
        if self.stage is not None:
            self.stage.close()
            self.stage = None


class _Counted:
    """A stage of so many ticks."""

    def __init__(self, label: str, length: int, alike: bool):
        shown = {"label": label, "file": sys.stderr, "width": 0, "show_eta": alike}
        self.bar = click.progressbar(length=length, **shown)
        self.bar.render_progress()
        self.said = time.monotonic()

    def tick(self, count: int) -> None:
        self.bar.update(count)
        if not sys.stderr.isatty() and time.monotonic() - self.said >= MINUTE:
            self.said = time.monotonic()
            left = f", {self.bar.format_eta()} left" if self.bar.show_eta else ""
            text = f"{self.bar.label}: {self.bar.pos} of {self.bar.length}{left}"
            click.echo(text, err=True)

    def close(self) -> None:
        self.bar.render_finish()


class _Timed:
    """A stage of unknown length; a thread shows its seconds, since the work gives no sign."""

    def __init__(self, label: str):
        self.label, self.start, self.ended = label, time.monotonic(), Event()
        self.on_terminal = sys.stderr.isatty()
        self.thread = Thread(target=self._show, daemon=True)
        self.thread.start()

    def _show(self) -> None:
        while not self.ended.wait(SECOND if self.on_terminal else MINUTE):
            text = f"{self.label}  {timedelta(seconds=round(time.monotonic() - self.start))}"
            begin, end = ("\r\033[K", False) if self.on_terminal else ("", True)
            click.echo(begin + text, err=True, nl=end)

    def tick(self, count: int) -> None: ...

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        if self.on_terminal:
            click.echo("\r\033[K", err=True, nl=False)
