"""The program of each rank in test_masked_ranks.py: `torchrun --nproc-per-node=2 ... FOLDER`."""

import json
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from proofs_tests.tools.masked import alive, half_of, network, train, x
from prune import apply, masks_of, share_masks


def wait_for(key: str) -> None:
    """Wait until the other rank has reached the same line."""
    store = dist.distributed_c10d._get_default_store()
    store.set(f"{key}/{dist.get_rank()}", "")
    store.wait([f"{key}/0", f"{key}/1"])


def refusal(work) -> str:
    """The text of the error that `work` raises; "none" without one."""
    try:
        work()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "none"


def replicated(rank: int) -> dict:
    """Masks under DDP: equal ones, different ones, and those of the first rank for all."""
    found = {"same": trained(rank, lambda net: half_of(net))}
    net = network()
    time.sleep(rank)  # the first rank is the first to apply its masks
    found["different"] = refusal(lambda: apply(net, half_of(net, seed=rank)))
    wait_for("different")
    found["step"] = refusal(lambda: train(net))
    found["shared"] = trained(rank, lambda net: share_masks(half_of(net, seed=rank)))
    return found


def trained(rank: int, make) -> dict:
    """The outcome of three steps on data of this rank."""
    net = network()
    masks = make(net)
    apply(net, masks)
    train(DistributedDataParallel(net), x(4 + rank))
    return {
        "masks": {name: mask.int().tolist() for name, mask in masks.items()},
        "weights": {name: w.tolist() for name, w in net.named_parameters()},
        "alive": sum(alive(net.get_parameter(name), mask) for name, mask in masks.items()),
    }


def alone(rank: int) -> list[str]:
    """The first rank tries masks by itself, twice; then both apply three, one after the other."""
    net = nn.Sequential(nn.Linear(3, 3))
    if rank == 0:
        apply(net, half_of(net, seed=1))
        apply(net, half_of(net, seed=2))
    wait_for("alone")
    if rank == 1:  # always one behind
        time.sleep(1)
    return [refusal(partial(apply, net, half_of(net, seed=2 + i))) for i in range(3)]


def sharded(rank: int) -> dict:
    """Masks under FSDP2, applied after sharding; before; and once more."""
    mesh = init_device_mesh("cpu", (2,))
    plain, net, before = network(), network(), network()
    masks = half_of(net)
    apply(plain, masks)
    train(plain)
    fully_shard(net[4], mesh=mesh)
    fully_shard(net, mesh=mesh)
    apply(net, masks)
    train(net)
    apply(before, masks)
    fully_shard(before, mesh=mesh)
    found = {"before": refusal(lambda: before(x()))}
    apply(before, masks)
    before.eval()
    before(x())  # the root's whole weights stay in place after it
    before.train()
    apply(before, masks)
    train(before)
    for name, model in (("after", net), ("once more", before)):
        state = {
            n: t.full_tensor() if hasattr(t, "full_tensor") else t
            for n, t in model.state_dict().items()
        }
        expected = plain.state_dict()
        found[f"alive, {name}"] = sum(alive(state[n], mask) for n, mask in masks.items())
        found[f"off, {name}"] = max(
            float((state[n].double() - t.double()).abs().max()) for n, t in expected.items()
        )
        read = masks_of(model)
        found[f"read, {name}"] = all(torch.equal(read[n], mask) for n, mask in masks.items())
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    number = dist.get_rank()
    result = {"replicated": replicated(number), "alone": alone(number), "sharded": sharded(number)}
    (Path(sys.argv[1]) / f"rank{number}.json").write_text(json.dumps(result))
    dist.destroy_process_group()
