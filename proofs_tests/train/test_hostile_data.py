"""Small files that claim to be huge, and images that change after they were decoded."""

import gzip
import os
import struct
import tarfile
import tracemalloc
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proofs_tests.tools import archives
from train import fetch, readers
from train.imagenet import Decoder

read = partial(readers.read_tiny_imagenet, split="train", count=2, shape=(3, 64, 64))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A Tiny ImageNet of two classes, one black and one white image."""
    pictures = {
        "n01": [archives.jpeg((0, 0, 0)) + bytes(99)],
        "n02": [archives.jpeg((255, 255, 255))],
    }
    return archives.tiny_imagenet(tmp_path / "tiny", pictures, [("n01", archives.jpeg((9,)))])


def png(width: int, height: int) -> bytes:
    """A PNG file whose header claims a size, without pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def narrow(path: Path) -> Path:
    """Write an image of 1 x 65,000 pixels."""
    Image.new("RGB", (1, 65_000)).save(path, "JPEG")
    return path


@pytest.mark.parametrize("side", [10_000, 60_000], ids=["warning of PIL", "error of PIL"])
def test_an_image_bomb_is_refused_by_name(folder, side):
    bomb = folder / "train" / "n01" / "images" / "n01_0.JPEG"
    bomb.write_bytes(png(side, side))
    for decode in (lambda: read(folder), lambda: Decoder([str(bomb)], 32, ())[0]):
        with pytest.raises(ValueError) as error:
            decode()
        assert str(error.value) == f"{bomb} has more than 89,478,485 pixels"


def test_a_wrong_size_is_refused_before_a_pixel_is_decoded(folder, monkeypatch):
    wrong = folder / "train" / "n02" / "images" / "n02_0.JPEG"
    wrong.write_bytes(png(9_000, 9_000))
    monkeypatch.setattr(readers.Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"n02_0.JPEG is an image of shape \(3, 9000, 9000\)"):
        readers._picture(wrong, (3, 64, 64))


@pytest.mark.parametrize("key", [(), (1, 2, 3)], ids=["middle", "random part"])
def test_a_narrow_image_is_not_scaled_to_gigabytes(tmp_path, key):
    """Scaled to a shorter side of 256 it would have 4 thousand million pixels."""
    path = narrow(tmp_path / "narrow.JPEG")
    with pytest.raises(ValueError) as error:
        Decoder([str(path)], 224, key)[0]
    assert str(error.value).startswith(f"{path} is an image of 1 x 65,000 pixels")


def test_an_image_of_64_to_1_is_decoded(tmp_path):
    Image.new("RGB", (10, 640), (200, 10, 10)).save(tmp_path / "long.png")
    assert Decoder([str(tmp_path / "long.png")], 32, ())[0].shape == (3, 32, 32)


def test_a_program_of_postscript_is_no_image(tmp_path):
    """PIL would start Ghostscript for it."""
    path = tmp_path / "program.JPEG"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n")
    with pytest.raises(ValueError, match="no image"):
        readers.size_of(path)


def white(image: np.ndarray) -> bool:
    return bool((image > 250).all())


@pytest.mark.parametrize("date_kept", [True, False])
def test_a_changed_image_is_decoded_anew(folder, date_kept):
    assert [white(image) for image in read(folder)[0]] == [False, True]
    changed = folder / "train" / "n01" / "images" / "n01_0.JPEG"
    before = changed.stat()
    content = archives.jpeg((255, 255, 255))
    changed.write_bytes(content + bytes(before.st_size - len(content)))  # of the same size
    if date_kept:
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [white(image) for image in read(folder)[0]] == [True, True]
    assert len(list(folder.parent.glob("tiny-train-*.npy"))) == 1  # the old one is removed


def claims(size: int) -> bytes:
    """A .tar.gz whose first member is a long name that claims `size` bytes, and has some."""
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, size
    return gzip.compress(name.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20), 1)


@pytest.mark.parametrize("size", [3 << 30, 32 << 20], ids=["3 GiB", "32 MiB"])
def test_a_long_name_of_an_archive_is_not_read_into_memory(tmp_path, size):
    archive = tmp_path / "box.tar.gz"
    archive.write_bytes(claims(size))
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"{archive} is torn or no archive"):
        fetch.unpack(archive, tmp_path / "box")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20 and os.listdir(tmp_path) == [archive.name]


def test_a_long_name_of_an_honest_archive_is_unpacked(tmp_path):
    name = "box/" + "a" * 180
    content = archives.tar_gz([(name, b"x", tarfile.REGTYPE)])
    (tmp_path / "box.tar.gz").write_bytes(content)
    fetch.unpack(tmp_path / "box.tar.gz", tmp_path / "box")
    assert (tmp_path / name).read_bytes() == b"x"
