"""A training loop of your own: a ResNet-18 of torchvision, pruned, trained, made small, exported.

The ONNX file needs `pip install onnxscript`; it was last written on 2026-11-28 (torch 2.14.1,
onnxscript 0.7.2; onnxruntime 1.32.0 gives the same outputs to 3e-6).
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from examples.own_data import load
from synflow import Probe, apply, compact, prune


def loaders() -> tuple[DataLoader, DataLoader]:
    """Return batches of training and of test images, in three channels."""
    train_x, train_y, test_x, test_y = map(torch.from_numpy, load())
    train_x, test_x = (x[:, None].expand(-1, 3, -1, -1) / 255 for x in (train_x, test_x))
    train = DataLoader(TensorDataset(train_x, train_y), batch_size=50, shuffle=True)
    return train, DataLoader(TensorDataset(test_x, test_y), batch_size=50)


def train_epoch(model: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    """Train as without pruning: `apply` holds the pruned weights at 0."""
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader) -> float:
    """Return the part of the images that is classified correctly."""
    return torch.cat([model.eval()(x).argmax(1) == y for x, y in batches]).double().mean().item()


def main(compression: float = 20, epochs: int = 2, onnx: Path | None = None) -> nn.Module:
    """Print the accuracy, and return the small network; write it to an ONNX file, if given."""
    train, test = loaders()
    model, example = resnet18(num_classes=4), torch.randn(2, 3, 16, 16)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1), nn.Identity()  # images are small
    apply(model, prune(model, "synflow", Probe((3, 16, 16)), compression, schedule="certified"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(epochs):
        train_epoch(model, train, optimizer)
    small = compact(model, example)
    print(f"accuracy {accuracy(model, test):.3f}, small {accuracy(small, test):.3f}")
    if onnx:
        torch.onnx.export(small, (example,), onnx, dynamo=True)
    return small


if __name__ == "__main__":
    main(onnx=Path("small.onnx"))
