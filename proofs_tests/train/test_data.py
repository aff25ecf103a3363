"""Datasets: readers against independently written bytes, damage of every kind, hostile archives.

The network is a server on 127.0.0.1; nothing else is contacted.
"""

import hashlib
import os
import re
import stat
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proofs_tests.tools import archives
from train import data, fetch, readers

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
WNIDS = ["n03", "n01", "n02"]  # not in alphabetical order, as in wnids.txt
seeds = st.integers(0, 2**32 - 1)
small_arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))


def one_sentence(error, *mentioned) -> bool:
    """The message is a single sentence and names all that is to be named."""
    text = str(error.value)
    return not re.search(r"\n|[.!?]\s", text) and all(str(part) in text for part in mentioned)


def rejects(path, reader, *mentioned) -> None:
    with pytest.raises(ValueError) as error:
        reader(path)
    assert one_sentence(error, path, *mentioned)


def rejects_every_truncation(path: Path, reader) -> None:
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        rejects(path, reader)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def shrink(monkeypatch):
    """Change what the registry says of a dataset, for the length of a test."""

    def change(name: str, **changes) -> data.Dataset:
        monkeypatch.setitem(data.DATASETS, name, replace(data.DATASETS[name], **changes))
        return data.DATASETS[name]

    return change


# ---- idx ------------------------------------------------------------------------------------


@given(small_arrays, st.booleans())
def test_idx_round_trip(scratch, array, packed):
    path = scratch / ("round.gz" if packed else "round")
    content = archives.idx(array.ravel().tolist(), array.shape)
    path.write_bytes(archives.gz(content) if packed else content)
    read = readers.read_idx(path, array.shape)
    assert read.dtype == np.uint8 and read.flags.writeable and np.array_equal(read, array)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_torn_anywhere(tmp_path, name):
    content = archives.idx(list(range(60)), (5, 3, 4))
    (tmp_path / name).write_bytes(archives.gz(content) if name.endswith(".gz") else content)
    assert readers.read_idx(tmp_path / name, (5, 3, 4)).shape == (5, 3, 4)
    rejects_every_truncation(tmp_path / name, partial(readers.read_idx, shape=(5, 3, 4)))


@pytest.mark.parametrize(
    "content",
    [
        archives.idx(list(range(6)), (2, 3)) + b"\0",
        archives.idx(list(range(6)), (3, 2)),
        archives.idx(list(range(6)), (6,)),
        archives.idx([], (2**31 - 1, 3)),
        b"\0\0\x0d\x02" + archives.idx(list(range(6)), (2, 3))[4:],
    ],
    ids=["too long", "other shape", "other rank", "absurd size", "floats"],
)
def test_idx_of_another_kind(tmp_path, content):
    (tmp_path / "labels").write_bytes(content)
    rejects(tmp_path / "labels", partial(readers.read_idx, shape=(2, 3)))


def test_gzip_with_a_flipped_bit(tmp_path):
    content = bytearray(archives.gz(archives.idx([7] * 500, (500,))))
    content[-6] ^= 1  # in the checksum
    (tmp_path / "labels.gz").write_bytes(content)
    rejects(tmp_path / "labels.gz", partial(readers.read_idx, shape=(500,)))


# ---- CIFAR ----------------------------------------------------------------------------------


def random_images(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 32, 32), np.uint8)


@given(seeds, st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_cifar10_round_trip(scratch, seed, labels):
    images = random_images(seed, len(labels))
    (scratch / "c10").write_bytes(archives.cifar([im.tobytes() for im in images], labels))
    read, read_labels = readers.read_cifar(scratch / "c10", len(labels), 10)
    assert np.array_equal(read, images) and read_labels.tolist() == labels


@given(seeds, st.lists(st.tuples(st.integers(0, 19), st.integers(0, 99)), min_size=1, max_size=4))
def test_cifar100_label_is_the_fine_one(scratch, seed, labels):
    coarse, fine = map(list, zip(*labels, strict=True))
    images = random_images(seed, len(fine))
    (scratch / "c100").write_bytes(archives.cifar([im.tobytes() for im in images], coarse, fine))
    read, read_labels = readers.read_cifar(scratch / "c100", len(fine), 100, label_bytes=2)
    assert np.array_equal(read, images) and read_labels.tolist() == fine


def test_cifar_channels_are_planes_in_the_order_red_green_blue(tmp_path):
    red = bytes([255] * 1024 + [0] * 2048)
    (tmp_path / "red").write_bytes(archives.cifar([red], [0]))
    image = readers.read_cifar(tmp_path / "red", 1, 10)[0][0]
    assert (image[0] == 255).all() and (image[1:] == 0).all()


def test_cifar_torn_anywhere_or_too_long(tmp_path):
    content = archives.cifar([bytes(3072)] * 2, [1, 2])
    reader = partial(readers.read_cifar, count=2, classes=10)
    (tmp_path / "long").write_bytes(content + b"\0")
    rejects(tmp_path / "long", reader)
    (tmp_path / "batch").write_bytes(content)
    rejects_every_truncation(tmp_path / "batch", reader)


def test_cifar_label_out_of_range(tmp_path):
    (tmp_path / "batch").write_bytes(archives.cifar([bytes(3072)] * 2, [1, 10]))
    rejects(tmp_path / "batch", partial(readers.read_cifar, count=2, classes=10), "10", "0 to 9")


# ---- Tiny ImageNet --------------------------------------------------------------------------


def colour(label: int, i: int) -> tuple[int, int, int]:
    return 40 * label + 20, 30 * i + 10, 200 - 50 * label


def tiny(root: Path, per_class: int = 2) -> Path:
    """Three classes; validation in the order of classes 2, 0, 1, the last one grey."""
    train = {
        w: [archives.jpeg(colour(c, i)) for i in range(per_class)] for c, w in enumerate(WNIDS)
    }
    val = [(WNIDS[c], archives.jpeg(colour(c, 5))) for c in (2, 0)]
    return archives.tiny_imagenet(root, train, [*val, (WNIDS[1], archives.jpeg((77,)))])


read_train = partial(readers.read_tiny_imagenet, split="train", count=6, shape=(3, 64, 64))
read_val = partial(readers.read_tiny_imagenet, split="val", count=3, shape=(3, 64, 64))


def shows(image: np.ndarray, expected: tuple[int, ...]) -> bool:
    return np.abs(image.astype(int) - np.array(expected)[:, None, None]).max() <= 3


def test_tiny_imagenet_train_is_in_the_order_of_wnids(tmp_path):
    images, labels = read_train(tiny(tmp_path / "tiny"))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2] and images.dtype == np.uint8
    assert all(shows(images[k], colour(k // 2, k % 2)) for k in range(6))


def test_tiny_imagenet_val_follows_its_annotations_and_grey_becomes_rgb(tmp_path):
    images, labels = read_val(tiny(tmp_path / "tiny"))
    assert labels.tolist() == [2, 0, 1] and images.shape == (3, 3, 64, 64)
    assert shows(images[0], colour(2, 5)) and shows(images[1], colour(0, 5))
    assert shows(images[2], (77, 77, 77))


def test_tiny_imagenet_is_decoded_once(tmp_path, monkeypatch):
    folder, calls = tiny(tmp_path / "tiny"), []
    first = read_train(folder, report=lambda *progress: calls.append(progress))
    assert calls == [(6, 6)]
    monkeypatch.setattr(readers, "decoded", None)  # a call would be a TypeError
    again = read_train(folder, report=lambda *progress: calls.append(progress))
    assert np.array_equal(first[0], again[0]) and again[0].flags.writeable and calls == [(6, 6)]


def test_tiny_imagenet_cache_is_of_one_list_of_files(tmp_path):
    folder = tiny(tmp_path / "tiny")
    read_train(folder)
    images = folder / "train" / "n01" / "images"
    (images / "n01_0.JPEG").rename(images / "n01_9.JPEG")
    assert shows(read_train(folder)[0][2], colour(1, 1))


def test_torn_cache_is_made_anew(tmp_path):
    folder = tiny(tmp_path / "tiny")
    images = read_val(folder)[0]
    (cache,) = tmp_path.glob("*.npy")
    whole = cache.read_bytes()
    for length in [0, 1, 6, 60, 128, len(whole) // 2, len(whole) - 1]:
        os.truncate(cache, length)
        assert np.array_equal(read_val(folder)[0], images)
        assert cache.read_bytes() == whole


def test_interrupted_decoding_leaves_no_cache(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    folder = tiny(tmp_path / "tiny")
    with pytest.raises(KeyboardInterrupt):
        read_train(folder, report=interrupt)
    assert os.listdir(tmp_path) == ["tiny"]


def test_a_disk_that_takes_no_cache_costs_only_time(tmp_path, monkeypatch):
    def full(path, images):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(readers.np, "save", full)
    assert len(read_train(tiny(tmp_path / "tiny"))[0]) == 6
    assert os.listdir(tmp_path) == ["tiny"]


def test_torn_jpeg_is_named(tmp_path):
    folder = tiny(tmp_path / "tiny")
    victim = folder / "val" / "images" / "val_1.JPEG"
    for length in reversed(range(victim.stat().st_size)):
        os.truncate(victim, length)
        with pytest.raises(ValueError) as error:
            read_val(folder)
        assert one_sentence(error, victim)


def test_jpeg_of_another_size_is_named(tmp_path):
    folder = tiny(tmp_path / "tiny")
    victim = folder / "val" / "images" / "val_1.JPEG"
    victim.write_bytes(archives.jpeg((1, 2, 3), size=32))
    with pytest.raises(ValueError) as error:
        read_val(folder)
    assert one_sentence(error, victim, "(3, 32, 32)", "(3, 64, 64)")


def test_missing_images_are_counted(tmp_path):
    folder = tiny(tmp_path / "tiny")
    (folder / "train" / "n01" / "images" / "n01_0.JPEG").unlink()
    rejects(folder, read_train, folder / "train", "5", "6")


def test_annotations_torn_or_of_unknown_class(tmp_path):
    annotations = tiny(tmp_path / "tiny") / "val" / "val_annotations.txt"
    whole = annotations.read_text()
    last = whole.splitlines()[-1]
    for length in range(len(whole) - len(last) + len("\tn01") + 8):
        annotations.write_text(whole[:length])
        rejects(tmp_path / "tiny", read_val, annotations)
    annotations.write_text(whole.replace("n03", "n99"))
    rejects(tmp_path / "tiny", read_val, annotations, "n99")


# ---- digits, and the split ------------------------------------------------------------------


def test_digits_are_the_published_ones():
    with np.load(Path(data.__file__).with_name("digits.npz")) as arrays:
        told = Path(data.__file__).with_name("DIGITS.md").read_text()
        for name in ("images", "labels"):
            assert hashlib.sha256(arrays[name].tobytes()).hexdigest() in told
        assert arrays["images"].shape == (1797, 1, 8, 8) and arrays["images"].max() == 16


def test_digits_split(tmp_path):
    """1,437 / 360, together all 1,797, every class in its share, and always the same."""
    train, test = data.load("digits", tmp_path)
    with np.load(Path(data.__file__).with_name("digits.npz")) as arrays:
        everything = [(im * 15).tobytes() for im in arrays["images"]]
        shares = np.bincount(arrays["labels"]) * 360 / 1797
    halves = [im.numpy().tobytes() for im in (*train.images, *test.images)]
    assert sorted(halves) == sorted(everything)
    assert (len(train.images), len(test.images)) == (1437, 360)
    assert (np.abs(np.bincount(test.labels) - shares) < 1).all()
    digest = hashlib.sha256(test.images.numpy().tobytes() + test.labels.numpy().tobytes())
    assert digest.hexdigest()[:16] == "1237628e416564b5"


def test_digits_statistics(tmp_path):
    pixels = data.load("digits", tmp_path)[0].images.double() / 255
    (mean,), (std,) = data.DATASETS["digits"].mean, data.DATASETS["digits"].std
    assert (round(pixels.mean().item(), 4), round(pixels.std().item(), 4)) == (mean, std)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data(), seeds)
def test_stratified_draws_each_class_in_its_share(labels, draw, seed):
    labels, size = np.array(labels), draw.draw(st.integers(0, len(labels)))
    drawn = data.stratified(labels, size, seed)
    quota = np.bincount(labels) * size / len(labels)
    taken = np.bincount(labels[drawn], minlength=len(quota))
    assert drawn.sum() == size and (np.abs(taken - quota) < 1).all()
    assert np.array_equal(drawn, data.stratified(labels, size, seed))


def test_stratified_gives_what_is_left_to_the_largest_remainders():
    labels = np.repeat([0, 1, 2], [5, 8, 7])  # 10 of 20: quotas 2.5, 4, 3.5, the earlier first
    assert np.bincount(labels[data.stratified(labels, 10, 0)]).tolist() == [3, 4, 3]
    labels = np.repeat([0, 1, 2], [3, 3, 14])  # 5 of 20: quotas 0.75, 0.75, 3.5
    assert np.bincount(labels[data.stratified(labels, 5, 0)]).tolist() == [1, 1, 3]


def test_stratified_is_random():
    labels = np.zeros(40, int)
    draws = {data.stratified(labels, 20, seed).tobytes() for seed in range(20)}
    assert len(draws) == 20


# ---- locate and load ------------------------------------------------------------------------


def test_registry_is_consistent():
    for name, dataset in data.DATASETS.items():
        assert name == dataset.name
        assert len(dataset.mean) == len(dataset.std) == dataset.shape[0]
        assert dataset.size(True) == dataset.train_size and dataset.size(False) == dataset.test_size


@pytest.mark.parametrize("name", [n for n in data.DATASETS if n != "digits"])
def test_a_missing_dataset_is_named_with_its_files_its_folders_and_a_remedy(tmp_path, shrink, name):
    here = [folder for folder in data.DATASETS[name].folders if not folder.startswith("/")]
    dataset = shrink(name, folders=(*here, str(tmp_path / "elsewhere")))
    with pytest.raises(data.MissingData) as error:
        data.locate(name, tmp_path)
    places = [tmp_path / folder for folder in dataset.folders]
    assert one_sentence(error, name, *places, *dataset.files)
    fetched = name != "imagenet"
    assert error.value.remedy == (f"data fetch {name} --data-dir {tmp_path}" if fetched else "")
    assert ("image-net.org" in str(error.value)) == (not fetched)


def test_an_incomplete_folder_is_named_with_the_files_that_it_lacks(tmp_path):
    (tmp_path / "cifar-100-binary").mkdir()
    (tmp_path / "cifar-100-binary" / "train.bin").touch()
    with pytest.raises(FileNotFoundError) as error:
        data.locate("cifar100", tmp_path)
    assert one_sentence(error, "(which lacks test.bin)")


def write_idx(folder: Path, packed: bool, train: int = 4, test: int = 2) -> None:
    """An idx dataset of 2 classes, 28 x 28: image k of a half is all k, its label k % 2."""
    folder.mkdir(parents=True)
    for prefix, n in {"train": train, "t10k": test}.items():
        pixels = [k for k in range(n) for _ in range(784)]
        files = {
            f"{prefix}-images-idx3-ubyte": archives.idx(pixels, (n, 28, 28)),
            f"{prefix}-labels-idx1-ubyte": archives.idx([k % 2 for k in range(n)], (n,)),
        }
        for file, content in files.items():
            name, content = (f"{file}.gz", archives.gz(content)) if packed else (file, content)
            (folder / name).write_bytes(content)


IDX = {"train_size": 4, "test_size": 2, "classes": 2, "mean": (1.5 / 255,)}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "name, layout",
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST/raw"),
    ],
)
def test_load_idx_datasets_in_every_layout(tmp_path, shrink, name, layout, packed):
    shrink(name, **IDX)
    write_idx(tmp_path / layout, packed)
    train, test = data.load(name, tmp_path)
    assert data.locate(name, tmp_path) == tmp_path / layout
    assert train.images.shape == (4, 1, 28, 28) and train.images.dtype == torch.uint8
    assert train.labels.dtype == torch.int64 and train.labels.tolist() == [0, 1, 0, 1]
    assert train.images[:, 0, 5, 5].tolist() == [0, 1, 2, 3] and test.labels.tolist() == [0, 1]


def write_cifar10(folder: Path, label: int = 0) -> Path:
    """Batches of two images: image k is all k; labels alternate, except for one that is told."""
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for b, name in enumerate(names):
        images = [bytes([2 * b + i]) * 3072 for i in (0, 1)]
        first = label if name == "data_batch_3.bin" else 0
        (folder / name).write_bytes(archives.cifar(images, [first, 1]))
    return folder


CIFAR10 = {"train_size": 10, "test_size": 2, "classes": 2, "mean": (4.5 / 255,) * 3}


def test_load_cifar10_batches_in_order(tmp_path, shrink):
    shrink("cifar10", **CIFAR10)
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    train, test = data.load("cifar10", tmp_path)
    assert train.images[:, 2, 31, 31].tolist() == list(range(10))
    assert test.images[:, 0, 0, 0].tolist() == [10, 11] and train.labels.tolist() == [0, 1] * 5


def test_load_cifar100(tmp_path, shrink):
    shrink("cifar100", train_size=2, test_size=1)
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "train.bin").write_bytes(archives.cifar([bytes(3072)] * 2, [3, 4], [98, 99]))
    (folder / "test.bin").write_bytes(archives.cifar([bytes(3072)], [5], [42]))
    train, test = data.load("cifar100", tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([98, 99], [42])


TINY = {"train_size": 6, "test_size": 3, "classes": 3}


def test_load_tiny_imagenet(tmp_path, shrink):
    shrink("tiny-imagenet", **TINY)
    tiny(tmp_path / "tiny-imagenet-200")
    progress = []
    train, test = data.load("tiny-imagenet", tmp_path, lambda *step: progress.append(step))
    assert train.images.shape == (6, 3, 64, 64) and test.labels.tolist() == [2, 0, 1]
    assert progress == [(6, 6), (3, 3)]


@pytest.mark.parametrize("size", [3, 5])
def test_load_counts(tmp_path, shrink, size):
    shrink("mnist", **IDX | {"train_size": size})
    write_idx(tmp_path / "mnist", packed=False)
    rejects(tmp_path / "mnist", lambda _: data.load("mnist", tmp_path), "train-labels-idx1-ubyte")


def test_load_names_the_file_with_a_label_out_of_range(tmp_path, shrink):
    shrink("cifar10", **CIFAR10)
    folder = write_cifar10(tmp_path / "cifar-10-batches-bin", label=2)
    rejects(folder, lambda _: data.load("cifar10", tmp_path), "data_batch_3.bin", "0 to 1")
    shrink("mnist", **IDX | {"classes": 1})
    write_idx(tmp_path / "mnist", packed=True)
    rejects(tmp_path / "mnist", lambda _: data.load("mnist", tmp_path), "labels-idx1-ubyte.gz")


def test_load_names_the_torn_file(tmp_path, shrink):
    shrink("cifar10", **CIFAR10)
    folder = write_cifar10(tmp_path / "cifar-10-batches-bin")
    os.truncate(folder / "data_batch_4.bin", 3073)
    rejects(folder, lambda _: data.load("cifar10", tmp_path), "data_batch_4.bin")


@pytest.mark.parametrize(
    "images, labels", [((3, 1, 8, 8), 4), ((4, 1, 8, 7), 4), ((4, 1, 8, 8), 5)]
)
def test_load_checks_what_a_reader_gives(tmp_path, shrink, images, labels):
    def read(folder, dataset, train, report):
        return np.zeros(images, np.uint8), np.zeros(labels, int)

    shrink("digits", train_size=4, test_size=4, read=read)
    with pytest.raises(ValueError) as error:
        data.load("digits", tmp_path)
    assert one_sentence(error, data.locate("digits", tmp_path))


def test_a_name_that_cannot_be_loaded(tmp_path):
    with pytest.raises(ValueError) as error:
        data.load("cifar", tmp_path)
    assert one_sentence(error, "'cifar'", *data.DATASETS)


@pytest.mark.skipif(not DEBIAN.exists(), reason="no Debian package dataset-fashion-mnist")
def test_fashion_mnist_of_debian(tmp_path):
    line = fetch.verify("fashion-mnist", tmp_path)
    assert str(DEBIAN) in line and "60,000 + 10,000 images of 1 x 28 x 28" in line
    assert "6,000 + 1,000 of each of 10 classes" in line


# ---- fetch ----------------------------------------------------------------------------------


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; what is called `slow` never comes, what is called `short` ends early."""

    def do_GET(self):
        self.server.seen.append(self.path.lstrip("/"))
        if self.path.endswith("slow"):
            self.server.closing.wait(10)
        elif self.path.endswith("short"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"0123456789")
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """A web site in a temporary folder; `seen` is the list of the paths asked for."""
    (tmp_path / "site").mkdir()
    handler = partial(Handler, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.seen, server.closing = True, [], threading.Event()
        server.root, server.url = tmp_path / "site", f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(site, monkeypatch):
    """Put files on the site and into the table of archives, with their checksums."""

    def put(name: str, files: dict[str, bytes]) -> None:
        table = []
        for path, content in files.items():
            (site.root / Path(path).name).write_bytes(content)
            md5 = hashlib.md5(content).hexdigest()
            table.append(fetch.Archive(path, site.url + Path(path).name, md5))
        monkeypatch.setitem(fetch.ARCHIVES, name, table)

    return put


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture
def mnist(tmp_path, shrink, publish) -> Path:
    """A small MNIST on the site; the result is an empty data directory's path."""
    shrink("mnist", **IDX)
    write_idx(tmp_path / "source", packed=True)
    files = sorted((tmp_path / "source").iterdir())
    publish("mnist", {f"mnist/{file.name}": file.read_bytes() for file in files})
    return tmp_path / "data"


def test_fetch_idx_files_once(mnist, site):
    progress = []
    line = fetch.fetch("mnist", mnist, lambda *step: progress.append(step))
    assert str(mnist / "mnist") in line and len(tree(mnist)) == 5 and len(site.seen) == 4
    assert [done == total > 0 for done, total in progress] == [True] * 4
    assert "4 + 2 images of 1 x 28 x 28, 2 + 1 of each of 2 classes" in fetch.verify("mnist", mnist)
    assert "already" in fetch.fetch("mnist", mnist) and len(site.seen) == 4


def test_fetch_keeps_what_has_the_right_checksum(mnist, site):
    fetch.fetch("mnist", mnist)
    (mnist / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    (mnist / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"torn")
    site.seen.clear()
    fetch.fetch("mnist", mnist)
    assert sorted(site.seen) == ["t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"]
    assert fetch.verify("mnist", mnist)


def test_fetch_cifar10_from_a_tar(tmp_path, shrink, publish, site):
    shrink("cifar10", **CIFAR10)
    folder = write_cifar10(tmp_path / "source" / "cifar-10-batches-bin")
    publish("cifar10", {"cifar-10-binary.tar.gz": archives.folder_as("tar", folder)})
    fetch.fetch("cifar10", tmp_path / "data")
    assert "10 + 2 images of 3 x 32 x 32" in fetch.verify("cifar10", tmp_path / "data")
    assert site.seen == ["cifar-10-binary.tar.gz"]
    assert set(os.listdir(tmp_path / "data")) == {"cifar-10-binary.tar.gz", "cifar-10-batches-bin"}


def test_fetch_tiny_imagenet_from_a_zip(tmp_path, shrink, publish):
    shrink("tiny-imagenet", **TINY, mean=(60 / 255, 25 / 255, 150 / 255))
    folder = tiny(tmp_path / "source" / "tiny-imagenet-200")
    publish("tiny-imagenet", {"tiny-imagenet-200.zip": archives.folder_as("zip", folder)})
    fetch.fetch("tiny-imagenet", tmp_path / "data")
    line = fetch.verify("tiny-imagenet", tmp_path / "data")
    assert "6 + 3 images of 3 x 64 x 64, 2 + 1 of each of 3 classes" in line


def test_archive_placed_by_hand(tmp_path, shrink, publish, site):
    shrink("cifar10", **CIFAR10)
    folder = write_cifar10(tmp_path / "source" / "cifar-10-batches-bin")
    publish("cifar10", {"cifar-10-binary.tar.gz": archives.folder_as("tar", folder)})
    (tmp_path / "data").mkdir()
    (site.root / "cifar-10-binary.tar.gz").rename(tmp_path / "data" / "cifar-10-binary.tar.gz")
    fetch.fetch("cifar10", tmp_path / "data")
    assert site.seen == [] and fetch.verify("cifar10", tmp_path / "data")


def test_wrong_checksum_leaves_nothing(mnist, site, monkeypatch):
    (site.root / "t10k-labels-idx1-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(ValueError) as error:
        fetch.fetch("mnist", mnist)
    good = next(a for a in fetch.ARCHIVES["mnist"] if "t10k-labels" in a.path)
    assert one_sentence(error, good.url, good.md5, hashlib.md5(b"something else").hexdigest())
    assert not [path for path in tree(mnist) if "part" in path or "t10k-labels" in path]


@pytest.mark.parametrize("file", ["absent", "short", "slow", "refused"])
def test_failed_download_is_one_sentence_and_leaves_nothing(tmp_path, site, monkeypatch, file):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    url = "http://127.0.0.1:1/refused" if file == "refused" else site.url + file
    archive = fetch.Archive("cifar-10-binary.tar.gz", url, "0" * 32)
    monkeypatch.setitem(fetch.ARCHIVES, "cifar10", [archive])
    wrong = ValueError if file == "short" else ConnectionError
    with pytest.raises((wrong, ConnectionError)) as error:
        fetch.fetch("cifar10", tmp_path / "data")
    assert one_sentence(error, url, "0" * 32) and tree(tmp_path / "data") == set()
    if file != "short":
        assert str(tmp_path / "data" / "cifar-10-binary.tar.gz") in str(error.value)


def test_a_full_disk_is_not_blamed_on_the_network(mnist, monkeypatch):
    def full(done, total):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match=r"^no space left on device$"):
        fetch.fetch("mnist", mnist, report=full)
    assert tree(mnist) == {"mnist"}


def test_incomplete_folder_is_left_alone(tmp_path, publish, site):
    publish("cifar10", {"cifar-10-binary.tar.gz": b""})
    mine = tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(ValueError) as error:
        fetch.fetch("cifar10", tmp_path)
    assert one_sentence(error, mine.parent) and mine.read_bytes() == b"mine" and not site.seen


def test_what_is_not_fetched(tmp_path):
    assert "embedded" in fetch.fetch("digits", tmp_path)
    assert "1,437 + 360 images of 1 x 8 x 8" in fetch.verify("digits", tmp_path)
    with pytest.raises(ValueError) as error:
        fetch.fetch("imagenet", tmp_path)
    assert one_sentence(error, "image-net.org", tmp_path / "imagenet")
    with pytest.raises(ValueError, match="there is no dataset 'x'"):
        fetch.fetch("x", tmp_path)
    assert tree(tmp_path) == set()


def test_archive_table_covers_the_registry():
    assert set(fetch.ARCHIVES) == set(data.DATASETS) - {"digits", "imagenet"}
    for name, table in fetch.ARCHIVES.items():
        for archive in table:
            assert re.fullmatch("[0-9a-f]{32}", archive.md5)
            assert archive.url.startswith("http") and archive.url.endswith(Path(archive.path).name)
        in_folder = [a for a in table if a.path.startswith(f"{data.DATASETS[name].folders[0]}/")]
        assert len(in_folder) == (4 if "mnist" in name else 0)


# ---- verify ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"mean": (0.5,)}, {"classes": 3}, {"train_size": 3}, {"train_size": 3, "balanced": True}],
    ids=["mean", "empty class", "count", "count, balanced"],
)
def test_verify_is_not_satisfied_with(mnist, shrink, changes):
    fetch.fetch("mnist", mnist)
    shrink("mnist", **changes)
    with pytest.raises(ValueError) as error:
        fetch.verify("mnist", mnist)
    assert one_sentence(error, mnist / "mnist")


def test_verify_wants_balance_where_it_is_promised(tmp_path, shrink):
    shrink("mnist", **IDX | {"train_size": 3, "mean": (1 / 255,)})
    write_idx(tmp_path / "mnist", packed=False, train=3)
    assert "1 to 2 + 1 of each of 2 classes" in fetch.verify("mnist", tmp_path)
    shrink("mnist", balanced=True)
    with pytest.raises(ValueError) as error:
        fetch.verify("mnist", tmp_path)
    assert one_sentence(error, tmp_path / "mnist", "1 to 2")


def test_verify_without_data(tmp_path):
    with pytest.raises(FileNotFoundError):
        fetch.verify("cifar10", tmp_path)


# ---- unpacking what is hostile, torn or interrupted -----------------------------------------

FILE = 0o100644
GOOD_TAR = [("box/a", b"a" * 100, tarfile.REGTYPE), ("box/b/c", b"c", tarfile.REGTYPE)]
GOOD_ZIP = [("box/a", b"a" * 100, FILE), ("box/b/c", b"c", FILE)]


@pytest.fixture
def box(tmp_path) -> Path:
    """A folder to unpack `box` in; the folders around it must stay as they are."""
    (tmp_path / "data").mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    return tmp_path / "data" / "box"


def refused(box: Path, suffix: str, content: bytes) -> bool:
    archive = box.parent / f"box{suffix}"
    archive.write_bytes(content)
    with pytest.raises(ValueError) as error:
        fetch.unpack(archive, box)
    nothing_else = tree(box.parent.parent) == {"data", f"data/box{suffix}", "precious"}
    intact = (box.parent.parent / "precious").read_bytes() == b"precious"
    return one_sentence(error, archive) and nothing_else and intact


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_unpack(box, suffix):
    archive = box.parent / f"box{suffix}"
    good = archives.zipped(GOOD_ZIP) if suffix == ".zip" else archives.tar_gz(GOOD_TAR)
    archive.write_bytes(good)
    fetch.unpack(archive, box)
    assert tree(box) == {"a", "b", "b/c"} and (box / "b" / "c").read_bytes() == b"c"
    assert tree(box.parent) == {archive.name, "box", "box/a", "box/b", "box/b/c"}


OUTSIDE = ["../precious", "box/../../precious", "/tmp/precious", "C:\\precious", "box\\..\\..\\p"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_that_lead_outside_are_refused(box, name):
    assert refused(box, ".tar.gz", archives.tar_gz([*GOOD_TAR, (name, b"!", tarfile.REGTYPE)]))
    (box.parent / "box.tar.gz").unlink()
    assert refused(box, ".zip", archives.zipped([*GOOD_ZIP, (name, b"!", FILE)]))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("target", ["a", "../../precious", "/etc/passwd"])
def test_tar_links_and_devices_are_refused(box, kind, target):
    assert refused(box, ".tar.gz", archives.tar_gz([*GOOD_TAR, ("box/link", target, kind)]))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_zip_links_and_devices_are_refused(box, kind):
    assert refused(box, ".zip", archives.zipped([*GOOD_ZIP, ("box/link", b"a", kind | 0o777)]))


def test_bombs_are_refused(box, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 10_000)
    bomb = bytes(20_000)
    assert refused(box, ".tar.gz", archives.tar_gz([*GOOD_TAR, ("box/z", bomb, tarfile.REGTYPE)]))
    (box.parent / "box.tar.gz").unlink()
    assert refused(box, ".zip", archives.zipped([*GOOD_ZIP, ("box/z", bomb, FILE)]))
    monkeypatch.setattr(fetch, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(fetch, "MAX_MEMBERS", 1)
    assert refused(box, ".zip", archives.zipped(GOOD_ZIP))
    (box.parent / "box.zip").unlink()
    assert refused(box, ".tar.gz", archives.tar_gz(GOOD_TAR))


def test_many_small_members_are_a_bomb_too(box, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 10_000)
    members = [(f"box/{i}", bytes(1_000), tarfile.REGTYPE) for i in range(11)]
    assert refused(box, ".tar.gz", archives.tar_gz(members))


def test_a_zip_that_lies_about_its_sizes(box, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 10_000)
    bomb, size = archives.zipped([("box/z", bytes(123_456), FILE)]), (123_456).to_bytes(4, "little")
    assert bomb.count(size) == 2  # in the header of the member and in the directory
    assert refused(box, ".zip", bomb.replace(size, (99).to_bytes(4, "little")))


def test_an_archive_without_the_folder(box):
    assert refused(box, ".zip", archives.zipped([("other/a", b"a", FILE)]))
    (box.parent / "box.zip").unlink()
    assert refused(box, ".tar.gz", archives.tar_gz([("box", b"a file", tarfile.REGTYPE)]))


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_torn_archives_unpack_whole_or_not_at_all(box, suffix):
    archive = box.parent / f"box{suffix}"
    good = archives.zipped(GOOD_ZIP) if suffix == ".zip" else archives.tar_gz(GOOD_TAR)
    for length in range(len(good)):
        if suffix == ".zip" or length < len(good) - 40:  # the rest of a tar is padding
            assert refused(box, suffix, good[:length])
        else:
            archive.write_bytes(good[:length])


@pytest.mark.parametrize(
    "suffix, opened", [(".tar.gz", "tarfile.TarFile"), (".zip", "zipfile.ZipFile")]
)
def test_interrupted_unpacking_leaves_nothing(box, monkeypatch, suffix, opened):
    def interrupted(self, path, **_):
        (Path(path) / "box").mkdir()
        (Path(path) / "box" / "a").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{opened}.extractall", interrupted)
    archive = box.parent / f"box{suffix}"
    good = archives.zipped(GOOD_ZIP) if suffix == ".zip" else archives.tar_gz(GOOD_TAR)
    archive.write_bytes(good)
    with pytest.raises(KeyboardInterrupt):
        fetch.unpack(archive, box)
    assert tree(box.parent) == {archive.name}
