"""Check the readers of CIFAR, Tiny ImageNet and ImageNet on files written by hand.

The files follow the published descriptions of the formats and are written without `train`.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments.checks.outcome import expect
from train.batches import task, training_batches
from train.data import Split, known
from train.imagenet import list_pictures
from train.readers import read_cifar, read_tiny_imagenet

JPEG_ERROR = 3  # of 255: the largest change by compression in an image of one colour
COLOURS = ((200, 30, 60), (10, 220, 120))


def readers(device: torch.device) -> str:
    """Compare labels, channels and images with the written ones; grey images become RGB."""
    with tempfile.TemporaryDirectory() as folder:
        for label_bytes in (1, 2):
            _cifar(Path(folder) / f"cifar-{label_bytes}.bin", label_bytes)
        _tiny_imagenet(Path(folder) / "tiny")
        _imagenet(Path(folder) / "imagenet", device)
    return "cifar10, cifar100, tiny-imagenet, imagenet"


def _cifar(path: Path, label_bytes: int) -> None:
    """Write two records: coarse label (CIFAR-100 only), fine label, red, green and blue plane.

    A plane has 1024 bytes; the last is white, so that a shifted reading shows.
    """
    records = []
    for coarse, fine, colour in ((7, 3, COLOURS[0]), (1, 9, COLOURS[1])):
        labels = bytes([coarse, fine][-label_bytes:])
        planes = b"".join(bytes([value]) * 1023 + bytes([255]) for value in colour)
        records.append(labels + planes)
    path.write_bytes(b"".join(records))
    images, labels = read_cifar(path, count=2, classes=10, label_bytes=label_bytes)
    expect(labels.tolist() == [3, 9], f"cifar labels with {label_bytes} bytes are {labels}")
    for image, colour in zip(images, COLOURS, strict=True):
        wanted = np.full((3, 1024), 255, np.uint8)
        wanted[:, :1023] = np.array(colour)[:, None]
        expect(np.array_equal(image.reshape(3, 1024), wanted), "cifar pixels are not as written")


def _jpeg(colour: tuple[int, ...], size: tuple[int, int]) -> bytes:
    """Encode an image of one colour: RGB of three numbers, grey of one."""
    if len(colour) == 3:
        return _jpeg_bytes(Image.new("RGB", size, colour))
    return _jpeg_bytes(Image.new("L", size, colour[0]))


def _jpeg_bytes(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def _expect_colour(image, colour: tuple[int, ...], where: str) -> None:
    """Expect an image (3, H, W) of one colour; a grey colour fills all channels."""
    wanted = np.array(colour if len(colour) == 3 else colour * 3)[:, None, None]
    off = np.abs(np.asarray(image, dtype=np.int64) - wanted).max()
    expect(off <= JPEG_ERROR, f"{where}: a pixel is off by {off}")


def _tiny_imagenet(folder: Path) -> None:
    """Write class n2 before n1 in wnids.txt, and the validation images the other way round."""
    written = {"n2": COLOURS[0], "n1": (90,)}
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("n2\nn1\n")
    lines = []
    for number, (wnid, colour) in enumerate(reversed(written.items())):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        (folder / "train" / wnid / "images" / f"{wnid}_0.JPEG").write_bytes(_jpeg(colour, (64, 64)))
        (folder / "val" / "images" / f"val_{number}.JPEG").write_bytes(_jpeg(colour, (64, 64)))
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    for split, wnids in (("train", ["n2", "n1"]), ("val", ["n1", "n2"])):
        images, labels = read_tiny_imagenet(folder, split, 2, (3, 64, 64))
        wanted = [["n2", "n1"].index(wnid) for wnid in wnids]
        expect(labels.tolist() == wanted, f"tiny-imagenet {split} labels are {labels}")
        for image, wnid in zip(images, wnids, strict=True):
            _expect_colour(image, written[wnid], f"tiny-imagenet {split}")


def _imagenet(folder: Path, device: torch.device) -> None:
    """Images of any size; the number of workers changes nothing in what is drawn."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 200, 280, 3), np.uint8)
    written = {"n01": COLOURS[0], "n02": (90,), "n03": COLOURS[1]}
    for (wnid, colour), pixels in zip(written.items(), noise, strict=True):
        for split, content in (
            ("val", _jpeg(colour, (300, 260))),
            ("train", _jpeg_bytes(Image.fromarray(pixels))),
        ):
            (folder / split / wnid).mkdir(parents=True)
            (folder / split / wnid / "one.JPEG").write_bytes(content)
    drawn = []
    for workers in (0, 2):
        halves = [list_pictures(folder / split, 224, workers) for split in ("train", "val")]
        splits = [Split(images, torch.from_numpy(labels)) for images, labels in halves]
        data = task(tuple(splits), known("imagenet"), (3, 224, 224), device)
        expect(data.test.labels.tolist() == [0, 1, 2], "imagenet labels are not in order")
        plain = torch.cat(list(data.test.images.split(2))).cpu()
        for image, colour in zip(plain, written.values(), strict=True):
            _expect_colour(image, colour, "imagenet")
        drawn += [torch.cat([x for x, *_ in training_batches(data, 2, 0, e)]) for e in (0, 1)]
    expect(torch.equal(drawn[0], drawn[2]), "the number of workers changes imagenet's batches")
    expect(not torch.equal(drawn[0], drawn[1]), "imagenet's images are cut alike in every epoch")
