"""Start processes from one that has imported the project: milliseconds in place of seconds."""

import os
from collections.abc import Callable
from multiprocessing import get_context

import torch
import torch.distributed as dist

import cli

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["torch._dynamo", "experiments.runs.run", "proofs_tests.tools.rank"])
PATIENCE = 200  # seconds


def together(count: int, work: Callable[..., object], *given: object) -> list[int]:
    """Call work(*given) in `count` ranks, as torchrun does; return their exit codes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    group |= {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    group |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": True}
    ranks = [_start(group | {"RANK": i, "LOCAL_RANK": i}, work, *given) for i in range(count)]
    return [exit_code(process) for process in ranks]


def on_terminal(path: str, words: list[str]):
    """Start a command of ours whose output goes to the terminal at this path."""
    return _start({"TERM": "xterm"}, written, path, words)


def exit_code(process) -> int | None:
    """The exit code of a process, which ends or is ended."""
    process.join(PATIENCE)
    process.kill()
    return process.exitcode


def command(words: list[str]) -> None:
    """Do a command of ours, and end the process with its exit code."""
    cli.main(words)


def written(path: str, words: list[str]) -> None:
    """The same; what it prints is added to the file, or goes to the terminal, at this path."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.environ.pop("COLUMNS", None)
    command(words)


def _start(environment: dict[str, object], work: Callable[..., object], *given: object):
    process = FORKS.Process(target=_begin, args=(environment, work, given))
    process.start()
    return process


def _begin(environment: dict[str, object], work: Callable[..., object], given: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.update({name: str(value) for name, value in environment.items()})
    work(*given)
