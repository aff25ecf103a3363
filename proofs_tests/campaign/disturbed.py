"""Faults of the machine: kills, full disks, damaged files, several processes at once.

Each is a function of the bench; the command must end in the same results afterwards.
"""

import os
import resource
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from proofs_tests.campaign.bench import COMMANDS, Bench, last

TRAININGS = ("run", "run, masked", "imp", "sweep")
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}


def killed(name_of_signal: str, bench: Bench) -> str:
    """Kill a command at a random time, and run it again."""
    name = bench.random.choice([*COMMANDS])
    bench.measure(name)
    child = bench.begin(bench.prepare(name))
    time.sleep(bench.random.uniform(0, bench.seconds[name]))
    os.kill(child, SIGNALS[name_of_signal])
    answer = bench.end(child)
    if answer.code not in (0, -SIGNALS[name_of_signal]):
        bench.check(answer)
    bench.finish(name)
    return name


def full_disk(bench: Bench) -> str:
    """Let no file grow beyond a random size, then run the command again with room."""
    name = bench.random.choice([*TRAININGS, "export", "figure"])
    bench.measure(name)
    size = int(10 ** bench.random.uniform(3, 6))  # stderr, a file too, has room for its sentence
    bench.check(bench.call(bench.prepare(name), partial(_room, size)))
    bench.finish(name)
    return f"{name}, {size:,} bytes"


def _room(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def torn(bench: Bench) -> str:
    return _damaged(bench, lambda old, draw: old[: draw.randrange(len(old))])


def flipped(bench: Bench) -> str:
    return _damaged(bench, _flip)


def emptied(bench: Bench) -> str:
    return _damaged(bench, lambda old, draw: b"")


def lost(bench: Bench) -> str:
    return _damaged(bench, None)


def _flip(old: bytes, draw) -> bytes:
    changed = bytearray(old)
    changed[draw.randrange(len(old))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _damaged(bench: Bench, change) -> str:
    """Damage a file of an unfinished training: it is refused by name, or it does no harm."""
    name = bench.random.choice(["run", "run, masked", "imp"])
    victim = _unfinished(bench, name)
    if change:
        victim.write_bytes(change(victim.read_bytes(), bench.random))
    else:
        victim.unlink()
    answer = bench.check(bench.call(bench.words(name)))
    if answer.code and str(victim) not in answer.err and victim.parent.name not in answer.err:
        bench.problems.append(("no sentence", f"{victim.name}: {last(answer.err)}"))
    if answer.code:  # the cure that a message gives is to delete the file
        victim.unlink(missing_ok=True)
        answer = bench.check(bench.call(bench.words(name)))
    if answer.code:  # at worst the training begins anew
        shutil.rmtree(bench.results)
        answer = bench.check(bench.call(bench.words(name)))
    bench.compare(name, answer)
    return f"{name}, {victim.name}"


def _unfinished(bench: Bench, name: str) -> Path:
    """Put a finished training there without its result; draw one of its files."""
    bench.measure(name)
    bench.prepare(name)
    shutil.copytree(bench.root / "kept" / name, bench.results)
    for result in bench.results.glob("*/result.json"):
        result.unlink()
    files = [p for p in bench.results.rglob("*") if p.is_file() and p.stat().st_size]
    return bench.random.choice(sorted(files))


def together(bench: Bench) -> str:
    """Start a command three times at once: one works, the others say so or find it finished."""
    name = bench.random.choice([*TRAININGS, "export", "figure"])
    bench.measure(name)
    words = bench.prepare(name)
    for child in [bench.begin(words) for _ in range(3)]:
        answer = bench.end(child)
        if answer.code != 1 or "another process" not in answer.err:
            bench.check(answer)
    bench.finish(name)
    return name


KINDS = {f"kill by {name}": partial(killed, name) for name in SIGNALS} | {
    "full disk": full_disk,
    "torn file": torn,
    "flipped bit": flipped,
    "emptied file": emptied,
    "lost file": lost,
    "three processes at once": together,
}
