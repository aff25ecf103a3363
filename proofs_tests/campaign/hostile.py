"""Faults of the input: data, results, numbers, command lines and places that no honest user has.

Each is a function of the bench; the command must end with one sentence, or work.
"""

import json
import os
import shutil

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from experiments.commandline.options import OPTIONS, RUN_OPTIONS
from proofs_tests.campaign.bench import Bench, last
from proofs_tests.tools import archives
from train.data import DATASETS

NUMBERS = (
    *("nan", "inf", "-inf", "1e400", "-1", "0", "-0.0", "1e-320", "1e12", "0x10", "", " ", "1_0"),
    *(str(2**31), str(2**63), str(2**64), "9" * 400, "1e", "٣", "1,5", "None", "1e308", "\udcff"),
)
READ = ("mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "imagenet")
JSONS = ("", "{", "[]", "null", "NaN", '{"config": 1}', "[" * 9_000, "1" * 9_000, "\udcff")
WORDS = st.one_of(
    st.sampled_from([f"--{name.partition('/')[0]}" for name in OPTIONS]),
    st.sampled_from(["run", "imp", "sweep", "inspect", "figure", "data", "-h", "--", "synflow"]),
    st.sampled_from(NUMBERS),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)

EXAMPLES = settings(
    max_examples=10,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def data(bench: Bench) -> str:
    """Fill the files of a data set with noise, or with a header that promises much more."""
    name = bench.random.choice(READ)
    folder = bench.root / "data" / DATASETS[name].folders[0]
    shutil.rmtree(bench.root / "data", ignore_errors=True)
    for file in DATASETS[name].files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_hostile(bench))
    answer = bench.check(
        bench.call(["data", "verify", name, "--data-dir", str(bench.root / "data")])
    )
    if answer.code == 0 or str(folder) not in answer.err:
        bench.problems.append(("no sentence", f"{name}: {last(answer.err)}"))
    return name


def _hostile(bench: Bench) -> bytes:
    draw = bench.random
    noise = draw.randbytes(draw.randrange(5_000))
    huge = archives.idx([], (2**31 - 1, 28, 28))
    return draw.choice([b"", noise, huge + noise, archives.gz(noise), archives.jpeg((9,), 9)])


def results(bench: Bench) -> str:
    """Put results there that are no results, and draw a figure or sweep over them."""
    bench.measure("run")
    bench.prepare("inspect")
    file = next(bench.results.glob("*/result.json"))
    text = json.loads(file.read_text())
    key = bench.random.choice([*text])
    value = bench.random.choice([None, -1, "x", [], {}, 1e308, True, float("nan")])
    content = bench.random.choice([*JSONS, json.dumps(text | {key: value})])
    file.write_bytes(content.encode(errors="surrogateescape"))
    name = bench.random.choice(["run", "inspect", "figure 6"])
    words = ["figure", "6", "--results", str(bench.results)]
    bench.check(bench.call(words if name == "figure 6" else bench.words(name)))
    return f"{name}, {key}"


def number(bench: Bench) -> str:
    """Give an option a number that it cannot have."""
    names = [n for n in RUN_OPTIONS if OPTIONS[n].get("type") in (int, float)]
    name, value = bench.random.choice(names), bench.random.choice(NUMBERS)
    quick = ["run", "--epochs", "0", "--steps", "2", "--results", str(bench.results)]
    bench.check(bench.call([*quick, f"--{name}={value}"]))
    return f"--{name}={value[:20]!r}"


def command_line(bench: Bench) -> str:
    """Call the program with words that Hypothesis draws."""
    first = bench.random.choice([[], ["run"], ["imp"], ["sweep"], ["diagnose"], ["figure"]])
    words = [*first, *_drawn(bench)]
    if first in (["run"], ["imp"], ["sweep"]):
        words += ["--epochs", "-1"]  # refused before it works
    bench.check(bench.call(words))
    _empty(bench)  # the words may name results in the current folder
    return " ".join(words)[:60]


def _drawn(bench: Bench) -> list[str]:
    drawn = []

    @seed(bench.random.getrandbits(32))
    @settings(EXAMPLES)
    @given(st.lists(WORDS, max_size=6))
    def draw(words: list[str]) -> None:
        drawn.append(words)

    draw()
    return bench.random.choice(drawn)


def _empty(bench: Bench) -> None:
    shutil.rmtree(bench.here)
    bench.here.mkdir()


def place(bench: Bench) -> str:
    """Put the results where no folder can be, or where its name is odd."""
    (bench.root / "file").write_text("mine")
    if not (loop := bench.root / "loop").is_symlink():
        loop.symlink_to(loop)
    odd = ["ä b 日本 ';$x", "a\nb\033[31m", "x\udce9", "d" * 300, "e/" * 1_000, "-", "~", "*"]
    names = [*(bench.results / name for name in odd), "", "/dev/null", "/proc/1", loop]
    folder = bench.random.choice([*map(os.fspath, names), str(bench.root / "file" / "below")])
    bench.check(bench.call(["run", "--epochs", "0", "--steps", "2", f"--results={folder}"]))
    if (bench.root / "file").read_text() != "mine":
        bench.problems.append(("outside", str(bench.root / "file")))
    _empty(bench)  # an empty name is the current folder
    return repr(folder[:40])


def output(bench: Bench) -> str:
    """Close standard output, or write it to a full device."""
    name = bench.random.choice(["inspect", "run", "data verify", "figure"])
    bench.measure(name)
    closed = bench.random.random() < 0.5
    answer = bench.call(bench.prepare(name), _closed if closed else _full)
    bench.check(answer._replace(err=answer.err or "Error: output"))
    bench.finish(name)
    return f"{name}, {'closed' if closed else 'full'}"


def _closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)


def _full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


KINDS = {
    "hostile data": data,
    "hostile results": results,
    "bad number": number,
    "command line by Hypothesis": command_line,
    "odd place": place,
    "output closed or full": output,
}
