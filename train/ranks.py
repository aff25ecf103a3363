"""The processes that torchrun starts to train one network together: what each does, how they agree.

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

PATIENCE = timedelta(hours=24)  # the others wait while the first rank prunes


def launched() -> int:
    """How many ranks torchrun has started; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


_tells = [launched() == 1 or os.environ["RANK"] == "0"]


def rank() -> int:
    """This process's number; 0 is the one that prunes and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes train this network."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Work together with the other ranks while the block runs; nothing changes without torchrun.

    Raises:
        ConnectionError: If another rank fails meanwhile; says that the run can go on.
        ValueError: If there are fewer CUDA devices than ranks, or one is chosen for all.
    """
    if launched() == 1 or dist.is_initialized():
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
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, while this rank says why
        _tells[0] = store.add("told", 1) == 1
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
    """Make "cuda" mean this rank's own device; what tensors on it, and others, are sent with."""
    here, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device != "cuda" or here > devices:
        raise ValueError(
            f"{here} ranks on this machine with --device {device}: each takes a device of its own "
            f"by --device cuda, without a number, and {devices} are here"
        )
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return "cpu:gloo,cuda:nccl"


def _stop(*_: object) -> None:
    raise RuntimeError("torchrun stopped it because another rank has failed")


def tells() -> bool:
    """Whether this process says why all ranks stop: the first, or the first to fail alone."""
    return _tells[0]


def total(x: Tensor) -> Tensor:
    """The sum of x over the ranks."""
    if ranks() == 1:
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x


def of_first(make: Callable[[], Any]) -> Any:
    """What `make` returns on rank 0, on every rank; tensors arrive on the CPU.

    Only tensors and plain containers can be sent.
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
