"""Processes: those that torchrun has started, the one that prints, new ones. Imports no torch."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_elected: bool | None = None  # by the ranks, after one of them has failed


def fix_sums() -> None:
    """Ask MKL for products of matrices that are equal, bit by bit, for any number of threads.

    MKL reads this when it is first called; the processes that are started here inherit it.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def torchrun() -> bool:
    """True if torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def launched() -> int:
    """The number of ranks that torchrun has started; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if torchrun() else 1


def speaker() -> bool:
    """True if this process prints: the first rank or, after a failure, the one elected."""
    first = not torchrun() or os.environ.get("RANK", "0") == "0"
    return first if _elected is None else _elected


def elect(chosen: bool) -> None:
    """Decide whether this process prints from now on."""
    global _elected
    _elected = chosen


def start(process: "BaseProcess") -> None:
    """Start a process of multiprocessing that does not search the current folder for modules.

    The method "spawn" runs `python -c`, which would import a socket.py from there. Before Python
    3.11 it still does.
    """
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        process.start()
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
