"""Datasets of a few images as bytes, written from the format descriptions alone.

Nothing here uses `train`: a reader that misreads a format cannot be confirmed by a writer that
shares its mistake.
"""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from PIL import Image


def idx(values: list, shape: tuple[int, ...]) -> bytes:
    """Big-endian: two zero bytes, type 8 (unsigned byte), rank, sizes, values."""
    head = bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">i", n) for n in shape)
    return head + bytes(values)


def gz(content: bytes) -> bytes:
    """One gzip member (RFC 1952)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def cifar(images: list[bytes], *labels: list[int]) -> bytes:
    """Records of one byte per list of labels (CIFAR-100: coarse, fine) and 3072 pixels."""
    return b"".join(bytes(row) + image for *row, image in zip(*labels, images, strict=True))


def jpeg(colour: tuple[int, ...], size: int = 64) -> bytes:
    """A picture of one colour, grey or RGB; it comes back with an error of about 1."""
    stream = io.BytesIO()
    picture = Image.new("L" if len(colour) == 1 else "RGB", (size, size), colour)
    picture.save(stream, "JPEG", quality=100)
    return stream.getvalue()


def tiny_imagenet(root: Path, train: dict[str, list[bytes]], val: list[tuple[str, bytes]]) -> Path:
    """The folder as it is published: classes in the order of `train`, `val` in its own order."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in train))
    for wnid, pictures in train.items():
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for i, picture in enumerate(pictures):
            (folder / f"{wnid}_{i}.JPEG").write_bytes(picture)
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for i, (wnid, picture) in enumerate(val):
        (root / "val" / "images" / f"val_{i}.JPEG").write_bytes(picture)
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def tar_gz(members: list[tuple[str, bytes | str, bytes]]) -> bytes:
    """A .tar.gz of (name, content or link target, tar type)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if isinstance(content, str):
                member.linkname = content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zipped(members: list[tuple[str, bytes, int]]) -> bytes:
    """A .zip of (name, content, Unix mode)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content, mode in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            packed.writestr(member, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def folder_as(pack: str, root: Path) -> bytes:
    """All files under `root` as a tar_gz or zip whose top folder is `root`."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    named = [(str(path.relative_to(root.parent)), path.read_bytes()) for path in files]
    if pack == "zip":
        return zipped([(name, content, 0o100644) for name, content in named])
    return tar_gz([(name, content, tarfile.REGTYPE) for name, content in named])
