"""Lightning: a callback prunes the network of any LightningModule before it is fitted.

Needs `pip install lightning`; last run on 2026-11-28 (lightning 2.6.6, torch 2.14.1).
"""

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from examples.own_loop import loaders
from synflow import Probe, apply, density, masks_of, prune


class Prune(lightning.Callback):
    """Prune `module.net` at initialisation; its optimizer and checkpoints stay as they are."""

    def __init__(self, probe: Probe, compression: float, score: str = "synflow"):
        self.probe, self.compression, self.score = probe, compression, score

    def on_fit_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Hold the pruned weights at 0 from now on."""
        apply(module.net, prune(module.net, self.score, self.probe, self.compression))


class Classifier(lightning.LightningModule):
    """A small convolutional network, as it would be without pruning."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
        )  # fmt: skip

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        x, y = batch
        return cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of all parameters."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main(compression: float = 5, epochs: int = 2) -> nn.Module:
    """Train, and print the part of the weights that is left."""
    module, callback = Classifier(), Prune(Probe((3, 16, 16)), compression)
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[callback], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loaders()[0])
    print(f"{density(masks_of(module.net)):.1%} of the weights are left")
    return module.net


if __name__ == "__main__":
    main()
