"""Images that do not fit in memory: worker processes decode, crop and scale them when needed."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from train.readers import decoded, refuse_narrow
from train.seeds import PICTURES, seed_of

CPU = torch.device("cpu")


class Decoder(TorchDataset):
    """Row -> uint8 (3, pixels, pixels): the middle of the image or, with a key, a random part.

    The random part depends on (*key, row) alone, whichever process draws it.
    """

    def __init__(self, files: Sequence[str], pixels: int, key: tuple[int, ...]):
        from torchvision import transforms

        self.files, self.key = files, key
        cut = (
            [transforms.RandomResizedCrop(pixels), transforms.RandomHorizontalFlip()]
            if key
            else [transforms.Resize(pixels * 256 // 224), transforms.CenterCrop(pixels)]
        )
        self.cut = transforms.Compose([*cut, transforms.PILToTensor()])

    def __getitem__(self, row: int) -> Tensor:
        refuse_narrow(self.files[row])
        image = decoded(self.files[row])
        with torch.random.fork_rng(devices=[]):  # both lines concern the CPU's generator only
            torch.default_generator.manual_seed(seed_of(*self.key, row))
            return self.cut(image)


@dataclass(frozen=True)
class Pictures:
    """Image files that stand for a uint8 tensor (n, 3, pixels, pixels)."""

    files: Sequence[str]
    pixels: int
    workers: int = 0  # processes; 0 decodes in this one
    device: torch.device = CPU

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.files), 3, self.pixels, self.pixels)

    def to(self, device: torch.device) -> "Pictures":
        return replace(self, device=device)

    def __getitem__(self, rows: Tensor | slice) -> "Pictures":
        chosen = self.files[rows] if isinstance(rows, slice) else self._at(rows)
        return replace(self, files=chosen)

    def _at(self, rows: Tensor) -> list[str]:
        return [self.files[row] for row in rows.tolist()]

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield batches of `size` in order, each image's middle, on the device."""
        return self._decoded(torch.arange(len(self.files)).split(size), ())

    def augmented(self, batches: Iterable[Tensor], seed: int, epoch: int) -> Iterator[Tensor]:
        """Yield the given rows in batches, cropped and mirrored from (seed, epoch, row) alone."""
        return self._decoded(batches, (seed, PICTURES, epoch))

    def _decoded(self, batches: Iterable[Tensor], key: tuple[int, ...]) -> Iterator[Tensor]:
        with warnings.catch_warnings():  # the user has chosen how many, also on one core
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader = DataLoader(
                Decoder(self.files, self.pixels, key),
                batch_sampler=(rows.tolist() for rows in batches),
                num_workers=self.workers,
                pin_memory=self.device.type == "cuda",
                collate_fn=partial(_stacked, self.shape[1:]),
                generator=torch.Generator(),  # the default one is that of dropout
            )
            decoded_batches = iter(loader)
        try:
            for batch in decoded_batches:
                yield batch.to(self.device, non_blocking=True)
        except ValueError as error:  # with a worker's traceback around it
            raise ValueError(str(error).rpartition("ValueError: ")[2].strip()) from None


def _stacked(shape: tuple[int, ...], pictures: list[Tensor]) -> Tensor:
    """Stack to (n, C, H, W); n is 0 if the last batch is too small for all ranks."""
    return torch.stack(pictures) if pictures else torch.empty(0, *shape, dtype=torch.uint8)


def list_pictures(folder: Path, pixels: int, workers: int) -> tuple[Pictures, NDArray[np.int64]]:
    """List folder/CLASS/FILE; classes are numbered in the order of their names.

    Returns:
        The images, and their labels (n,).

    Raises:
        ValueError: If there is no class, or a class without an image.
    """
    try:
        from torchvision.datasets import ImageFolder

        samples = ImageFolder(str(folder)).samples
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is not a folder of images for each class: {error}") from None
    files, labels = zip(*samples, strict=True)
    return Pictures(files, pixels, workers), np.array(labels)
