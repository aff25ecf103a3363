"""A crew of processes for runs: each works alone, and none outlives who hired it.

A worker is a fresh process with its share of the threads. It listens to its employer all the
time: when the connection closes, because the employer is done or was killed, it stops at once.
The files of a run are whole at every moment, so nothing is lost that the next call needs.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue

import torch

from experiments.config import RunConfig
from experiments.runs.imp import perform


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "finished", "failed", or "elsewhere" (another process is at it)."""

    config: RunConfig
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Worker:
    """A process and the way to it."""

    process: BaseProcess
    connection: Connection


def work(configs: Sequence[RunConfig], jobs: int) -> Iterator[Outcome]:
    """Do the runs with `jobs` processes; yields each outcome as it comes.

    A run that raises, or that takes its process down with it, does not stop the others.
    """
    waiting = list(configs)[::-1]
    threads = max(1, torch.get_num_threads() // jobs)
    busy: dict[Connection, tuple[Worker, RunConfig]] = {}
    idle: list[Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker, config = idle.pop() if idle else _hire(threads), waiting.pop()
                worker.connection.send(config)
                busy[worker.connection] = worker, config
            for connection in wait(busy):
                worker, config = busy.pop(connection)
                try:
                    outcome = connection.recv()
                    idle.append(worker)
                except EOFError:
                    outcome = Outcome(config, "failed", _death(worker))
                yield outcome
    finally:
        _dismiss(idle + [worker for worker, _ in busy.values()])


def _hire(threads: int) -> Worker:
    """Start a worker. Ctrl-C is blocked in it: its employer decides when it stops."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Worker(process, ours)


def _death(worker: Worker) -> str:
    worker.process.join()
    code = worker.process.exitcode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process died ({how}); is there enough memory?"


def _dismiss(workers: list[Worker]) -> None:
    for worker in workers:
        worker.connection.close()
        worker.process.kill()
    for worker in workers:
        worker.process.join()


def _serve(connection: Connection, threads: int) -> None:
    """A worker's life."""
    torch.set_num_threads(threads)
    orders: SimpleQueue[RunConfig] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    while True:
        connection.send(attempt(orders.get()))


def _listen(connection: Connection, orders: SimpleQueue) -> None:
    try:
        while True:
            orders.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # the employer is gone; what is half done is not waited for


def attempt(config: RunConfig) -> Outcome:
    """Do a run in this process, and say how it ended."""
    try:
        perform(config)
    except BlockingIOError as error:
        return Outcome(config, "elsewhere", str(error))
    except Exception as error:  # whatever it is, the other runs go on
        text = " ".join(str(error).split())
        return Outcome(config, "failed", f"{type(error).__name__}: {text}")
    return Outcome(config, "finished")
