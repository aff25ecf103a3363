"""A vision transformer of Hugging Face, pruned by SNIP and trained.

Needs `pip install transformers`; last run on 2026-11-28 (transformers 5.24.0, torch 2.14.1).
`ViTForImageClassification.from_pretrained(NAME)` in place of the small network works alike.
"""

import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from examples.own_loop import loaders
from synflow import Probe, apply, density, prune


def small_vit() -> nn.Module:
    """Return a transformer of two layers for images of 16 x 16 pixels and four classes."""
    config = ViTConfig(
        image_size=16, patch_size=4, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, num_labels=4,
    )  # fmt: skip
    return ViTForImageClassification(config)


def main(compression: float = 5, epochs: int = 5) -> nn.Module:
    """Prune by 40 training images, train, and print the density and the last loss.

    The input goes in by name, and the loss is taken of the output's `logits`. The head stays dense,
    and so do the position embeddings.
    """
    torch.manual_seed(0)
    model, (train, _) = small_vit(), loaders()
    x, y = next(iter(train))
    probe = Probe(example={"pixel_values": x[:2]}, batches=[({"pixel_values": x[:40]}, y[:40])])
    masks = prune(model, "snip", probe, compression, exclude=["classifier", "*position_embeddings"])
    apply(model, masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for x, y in train:
            optimizer.zero_grad()
            loss = model(pixel_values=x, labels=y).loss
            loss.backward()
            optimizer.step()
    print(f"{density(masks):.1%} of the weights are left, the loss is {loss:.3f}")
    return model


if __name__ == "__main__":
    main()
