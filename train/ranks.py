"""The ranks: processes that torchrun starts to train one network together.

Every rank holds the whole network and its share of each batch. Without torchrun there is one
rank, and nothing here communicates.
"""

import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from train import launch

PATIENCE = timedelta(hours=24)  # the other ranks wait while the first one prunes


def rank() -> int:
    """This process's number; rank 0 prunes and writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """The number of processes that train this network."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Connect the ranks while the block runs; without torchrun, do nothing.

    Raises:
        ConnectionError: If another rank fails meanwhile.
        ValueError: If there are fewer CUDA devices than ranks, or one is chosen for all.
    """
    if launch.launched() == 1 or dist.is_initialized():
        yield
        return
    backend = _claim_cuda(device) if device.startswith("cuda") else "gloo"
    store, number, count = next(dist.rendezvous("env://"))  # torchrun's: it outlives every rank
    signal.signal(signal.SIGTERM, _stop)
    group = dist.PrefixStore("ranks", store)
    dist.init_process_group(backend, store=group, rank=number, world_size=count, timeout=PATIENCE)
    try:
        yield
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, until the error is printed
        launch.elect(store.add("failures", 1) == 1)
        if isinstance(error, RuntimeError):  # what a lost connection raises
            raise _lost(number, count, error) from error
        raise
    finally:
        dist.destroy_process_group()


def _lost(number: int, count: int, error: RuntimeError) -> ConnectionError:
    reason = re.sub(r"^\[\S+\] ", "", str(error).strip()).partition("\n")[0].partition(". ")[0]
    return ConnectionError(
        f"rank {number} of {count} cannot go on ({reason}); the same command goes on from the "
        "last checkpoint"
    )


def _claim_cuda(device: str) -> str:
    """Select this rank's GPU. Returns the communication backends for CPU and CUDA tensors."""
    here, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device != "cuda" or here > devices:
        raise ValueError(
            f"{here} ranks on this machine with device {device}: each needs a device of its own, "
            f"which is the device cuda without a number, and the machine has {devices}"
        )
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return "cpu:gloo,cuda:nccl"


def _stop(*_: object) -> None:
    raise RuntimeError("torchrun stopped it because another rank has failed")


def total(x: Tensor) -> Tensor:
    """The sum of x over the ranks."""
    if ranks() == 1:
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x


def of_first(make: Callable[[], Any]) -> Any:
    """Call `make` on rank 0 and return its result on every rank, tensors on the CPU.

    Args:
        make: Returns tensors and plain containers only.
    """
    if ranks() == 1:
        return make()
    sent = [_packed(make()) if rank() == 0 else None]
    dist.broadcast_object_list(sent, src=0, device=torch.device("cpu"))
    return torch.load(io.BytesIO(sent[0]), map_location="cpu", weights_only=True)


def _packed(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def check_same(what: str, value: str) -> None:
    """Raise ValueError on every rank unless `value` is the same on all of them."""
    if ranks() == 1:
        return
    values: list[str | None] = [None] * ranks()
    dist.all_gather_object(values, value)
    if len(set(values)) > 1:
        raise ValueError(f"the ranks differ in {what}: {', '.join(map(str, values))}")
