"""Worker processes that do runs, each alone; none outlives the process that started it.

A worker is a fresh process with its share of the threads. A thread in it waits for messages of the
parent process all the time. When the connection closes, because the parent has ended or was
killed, the worker stops at once. The files of a run are whole at every moment, so the next sweep
finds all that it needs.
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
from experiments.runs import files
from experiments.runs.imp import perform
from train import launch


@dataclass(frozen=True)
class Outcome:
    """The end of a run: "finished", "failed", or "elsewhere" (another process works on it)."""

    config: RunConfig
    state: str
    reason: str = ""
    remedy: str = ""  # a command, without the program's name, that mends it


@dataclass(frozen=True)
class Worker:
    """A worker process, and the parent's end of the connection to it."""

    process: BaseProcess
    connection: Connection


def work(configs: Sequence[RunConfig], jobs: int) -> Iterator[Outcome]:
    """Do the runs in `jobs` processes; yield each outcome when it comes.

    A run that raises, or that ends its process, does not stop the others.
    """
    waiting = list(configs)[::-1]
    threads = max(1, torch.get_num_threads() // jobs)
    busy: dict[Connection, tuple[Worker, RunConfig]] = {}
    idle: list[Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker, config = idle.pop() if idle else _start(threads), waiting.pop()
                worker.connection.send(config)
                busy[worker.connection] = worker, config
            for connection in wait(busy):
                worker, config = busy.pop(connection)
                try:
                    outcome = connection.recv()
                    idle.append(worker)
                except EOFError:
                    outcome = Outcome(config, "failed", _cause_of_death(worker))
                yield outcome
    finally:
        _stop(idle + [worker for worker, _ in busy.values()])


def _start(threads: int) -> Worker:
    """Start a worker. Ctrl-C is blocked in it: the parent process decides when it stops."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        launch.start(process)
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Worker(process, ours)


def _cause_of_death(worker: Worker) -> str:
    worker.process.join()
    code = worker.process.exitcode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"its process died ({how}); is there enough memory?"


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.connection.close()
        worker.process.kill()
    for worker in workers:
        worker.process.join()


def _serve(connection: Connection, threads: int) -> None:
    """The main function of a worker process: do each run that the parent sends."""
    torch.set_num_threads(threads)
    received: SimpleQueue[RunConfig] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, received), daemon=True).start()
    while True:
        connection.send(attempt(received.get()))


def _receive(connection: Connection, received: SimpleQueue) -> None:
    """Put what the parent sends into a queue; end the process when the connection closes."""
    try:
        while True:
            received.put(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # at once: an unfinished run goes on at the next call


def attempt(config: RunConfig) -> Outcome:
    """Do a run in this process, and return its outcome."""
    try:
        perform(config)
    except BlockingIOError as error:
        return Outcome(config, "elsewhere", str(error))
    except (Exception, SystemExit) as error:  # of any kind: the other runs go on
        text = " ".join(str(error).split())
        remedy = getattr(error, "remedy", "")
        return Outcome(config, "failed", f"{type(error).__name__}: {text}", remedy)
    return Outcome(config, "finished")


def record_failure(outcome: Outcome) -> None:
    """Write the reason of a failure, or remove it after a success."""
    file = outcome.config.directory / files.FAILURE
    try:
        if outcome.state == "failed":
            file.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(file, outcome.reason + "\n")
        elif outcome.state == "finished":
            file.unlink(missing_ok=True)
    except OSError:
        pass  # perhaps the run failed on a full or read-only disk; the others still go on
