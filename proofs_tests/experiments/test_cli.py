"""The command line: its refusals, its output, and the files that it leaves alone.

Every refusal is one sentence on stderr. Exit code 2: a bad option; 1: anything else.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import synflow
from cli import main
from experiments.commandline.help import EXAMPLES
from experiments.commandline.names import CHOICES
from experiments.commandline.options import OPTIONS
from experiments.config import ABLATIONS, DTYPES, RunConfig
from experiments.resolve import device_named, resolve
from experiments.runs.files import owned
from proofs_tests.tools import ROOT
from proofs_tests.tools.runs import ONE_THREAD, configured, raw
from prune import load_masks, save_masks
from prune.allocation import ALLOCATIONS
from prune.schedules import SCHEDULES, SCOPES
from prune.scores import SCORES
from train import fetch
from train.data import DATASETS
from train.initial import INITS
from train.models import MODELS
from train.prepared import PRECISIONS
from train.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    """The current folder of the commands; `results` and `data` are made there, if at all."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def says(result: Result, code: int, *expected: str) -> bool:
    """True if it failed with this exit code and one sentence that has these words in it."""
    assert result.exit_code == code and result.stdout == "", result.output
    line = r"Error: [^\n]+\n"
    assert re.fullmatch(line, result.stderr), result.stderr
    assert "Traceback" not in result.stderr and "Error: Error" not in result.stderr
    missing = [text for text in expected if text not in result.stderr]
    assert not missing, result.stderr
    return True


# ---- option values --------------------------------------------------------------------------

WRONG = {
    "model": ["nothing", "", "torchvision:nothing", "no_such_module:net", "math:pi", "MLP"],
    "dataset": ["nothing", "", "CIFAR10"],
    "pruner": ["nothing", "", "SynFlow"],
    "compression": ["0.99", "0", "-10", "nan", "inf", "-inf", "1e400", "ten", "", "50201", "1e9"],
    "steps": ["0", "-1", "1.5", "many"],
    "schedule": ["nothing", "", "Linear"],
    "scope": ["nothing", "layer"],
    "allocation": ["nothing", "", "ERK"],
    "exclude": ["nothing", "", "1,", "0.weight", "*", "1,3.*,5.weight", "1.bias"],
    "ablate": ["nothing", "", "Shuffle"],
    "bn": ["nothing", "running", "batch"],  # the last two: synflow reads no data
    "seed": ["-1", "0.5", "today"],
    "width": ["0", "-1", "nan", "inf", "wide"],
    "init": ["nothing", "Paper"],
    "device": ["nothing", "", "cuda:99", "cuda:-1", "cuda:x", "mps", "meta"],
    "score-dtype": ["float16", "double"],
    "recipe": ["nothing", ""],
    "epochs": ["-1", "1.5", "many"],
    "batch-size": ["0", "-1", "1.5"],
    "lr": ["0", "-0.1", "nan", "inf", "high"],
    "lr-drops": ["", "x", "1.5", "5,", "5,,6", "6,5", "5,5", "0", "-1", "30", "5,99", "None"],
    "drop-factor": ["0", "-1", "nan", "inf", "half"],
    "weight-decay": ["-1", "nan", "inf", "much"],
    "precision": ["float16", "", "double"],
    "train-images": ["0", "-1", "1437", "1.5", "all"],  # digits have 1,437
    "workers": ["-1", "1.5", "4"],  # the last: digits are not decoded
    "log": ["nothing", "", "no_such_module:callback", "math:pi", "math:floor"],
}


@pytest.mark.parametrize(
    "option, value", [(option, value) for option, values in WRONG.items() for value in values]
)
def test_every_wrong_value_is_refused_with_exit_code_2(tmp_path, option, value):
    """The sentence names the option; nothing is made on disk."""
    assert says(call("run", f"--{option}", value), 2, option) and os.listdir(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_only_the_cuda_devices_that_are_there_are_taken(monkeypatch, count):
    """`cuda` is the first of them."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    names = ["cuda", *(f"cuda:{i}" for i in range(3))]
    for name in names[: count + 1] if count else []:
        assert device_named(name) == name
    for name in names[count + 1 :] if count else names:
        with pytest.raises(ValueError, match=f"--device {name}: this machine has {count} CUDA"):
            device_named(name)


def test_every_option_has_a_wrong_value():
    valued = [option for option in main.commands["run"].params if not option.is_flag]
    files = {"data-dir", "results", "config", "like"}
    assert set(WRONG) == {option.opts[0][2:] for option in valued} - files


@pytest.mark.parametrize("option", ["config", "like"])
def test_a_file_of_options_must_exist(option):
    assert says(call("run", f"--{option}", "nothing"), 2, f"--{option}", "'nothing' does not exist")


@pytest.mark.parametrize("option", ["data-dir", "results"])
def test_a_file_is_no_folder(tmp_path, option):
    (tmp_path / "file").write_text("mine")
    assert says(call("run", f"--{option}", "file"), 2, f"--{option}", "is a file")
    assert (tmp_path / "file").read_text() == "mine" and os.listdir(tmp_path) == ["file"]


ZERO = "--epochs 0"
USELESS = {
    "--schedule linear --pruner snip": "--schedule does nothing with one pruning step",
    "--schedule exponential --steps 1": "--schedule does nothing with one pruning step",
    "--schedule certified --steps 10": "--schedule certified takes no --steps",
    "--schedule certified --scope local": "--schedule certified takes no --steps and no --scope",
    "--schedule certified --pruner magnitude": "needs a conserved positive score: synflow",
    "--bn running --pruner magnitude": "--bn does nothing: magnitude reads no data",
    "--bn batch --pruner snip": "--bn does nothing: mlp has no batch norm",
    "--bn batch --pruner snip --compression 1": "--bn does nothing with --compression 1",
    f"{ZERO} --recipe paper": "--recipe does nothing with --epochs 0",
    f"{ZERO} --batch-size 4": "--batch-size does nothing with --epochs 0",
    f"{ZERO} --lr 0.1": "--lr does nothing with --epochs 0",
    f"{ZERO} --lr-drops 1": "--lr-drops does nothing with --epochs 0",
    f"{ZERO} --lr-drops none": "--lr-drops does nothing with --epochs 0",
    f"{ZERO} --drop-factor 0.1 --lr 1": "--lr, --drop-factor do nothing with --epochs 0",
    f"{ZERO} --weight-decay 0": "--weight-decay does nothing with --epochs 0",
    f"{ZERO} --record-weights": "--record-weights does nothing with --epochs 0",
    f"{ZERO} --precision float32": "--precision does nothing with --epochs 0",
    f"{ZERO} --train-images 100": "--train-images does nothing: nothing is trained",
    f"{ZERO} --compile": "--compile does nothing with --epochs 0",
    f"{ZERO} --ablate reinit": "--ablate reinit does nothing with --epochs 0",
    "--exclude 1 --compression 1": "--exclude does nothing with --compression 1",
    "--allocation erk --compression 1": "--allocation does nothing with --compression 1",
    "--allocation erk --scope local": "--allocation takes no --schedule certified and no --scope",
    "--allocation erk --schedule certified": "--allocation takes no --schedule certified",
    "--ablate shuffle --compression 1": "--ablate shuffle does nothing with --compression 1",
    "--recipe published": "recipe 'published' is known for vgg11",
    "--workers 2": "--workers does nothing: only the images of imagenet are decoded",
    "--epochs 10 --drop-factor 0.5": "--drop-factor does nothing: no drop comes in 10 epochs",
    "--lr-drops none --drop-factor 0.5": "--drop-factor does nothing",
    "--epochs 10 --lr-drops 10": "--lr-drops must lie between 1 and 9",
    "--epochs 1 --lr-drops 1": "--lr-drops",
    "--model torchvision:resnet18 --width 0.5": "--width scales mlp",
    "--model collections:Counter --width 0.5": "--width scales mlp",
    "--model collections:Counter --init paper": "--init does nothing",
    "--init published": "init 'published' is known for VGG, resnet18 and wrn18, not for mlp",
    "--model resnet20 --init published": "not for resnet20",
    "--model vgg16": "VGG takes images of 32, 64 or 224 px, not 8 x 8",
    "--compression 60000": "at most 50,200 is possible",
    "--model mlp --width 0.01 --compression 300": "at most 205 is possible",
}


@pytest.mark.parametrize("arguments, sentence", USELESS.items(), ids=USELESS)
def test_options_that_do_nothing_or_contradict_are_refused(tmp_path, arguments, sentence):
    assert says(call("run", *arguments.split()), 2, sentence) and os.listdir(tmp_path) == []


LINES = {
    "": 2,
    "fly": 2,
    "--version-of-nothing": 2,
    "run extra": 2,
    "run --nothing": 2,
    "run --seed": 2,
    "run --comp 10": 2,
    "inspect": 2,
    "inspect a b": 2,
    "export": 2,
    "export a b": 2,
    "report": 2,
    "report nowhere": 1,
    "export nowhere": 1,
    "export nowhere --device tpu": 2,
    "figure": 2,
    "data": 2,
    "data fly": 2,
    "data fetch": 2,
    "data fetch nothing": 2,
    "data verify nothing": 2,
    "data list digits": 2,
    "inspect nowhere": 1,
    "data fetch imagenet": 1,
    "data verify cifar10": 1,
}


@pytest.mark.parametrize("line, code", LINES.items(), ids=LINES)
def test_lines_that_are_no_command(tmp_path, line, code):
    """A group without a command shows its help; only that may have several lines."""
    result = call(*line.split())
    if line in ("", "data"):
        assert result.exit_code == code and result.stderr.startswith("Usage: ")
    else:
        assert says(result, code)
    assert os.listdir(tmp_path) == []


# ---- what goes wrong later ------------------------------------------------------------------

QUICK = ("run", "--steps", "3", "--epochs", "2")


@pytest.mark.parametrize("extra", ["--epochs 1", "--epochs 0 --pruner snip"])
@pytest.mark.parametrize("program", ["synflow", "python cli.py"])
def test_missing_data_is_one_sentence_with_its_files_its_folder_and_a_remedy(
    tmp_path, extra, program
):
    """The remedy begins with the words that started this command."""
    line = ["run", "--model", "wrn18", "--dataset", "tiny-imagenet", *extra.split()]
    result = CliRunner().invoke(main, line, prog_name=program)
    how = f"; run `{program} data fetch tiny-imagenet --data-dir data`\n"
    assert says(result, 1, "wnids.txt", "not in data/tiny-imagenet-200", how)
    assert os.listdir(tmp_path) == []


def test_data_that_nobody_may_download_has_instructions_instead(tmp_path):
    result = call("run", "--model", "resnet18", "--dataset", "imagenet")
    assert says(result, 1, "imagenet (train, val) is not in data/imagenet", "image-net.org")
    assert "data fetch" not in result.stderr


def test_a_sweep_of_missing_data_has_the_remedy_too(tmp_path):
    line = "sweep --models mlp --datasets cifar10 --pruners snip --compressions 10 --seeds 0"
    result = call(*line.split(), "--epochs", "0")
    assert says(result, 1, "cifar10 (", "; run `synflow data fetch cifar10 --data-dir data`")


def test_a_results_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = call(*QUICK, "--results", "file/results")
    assert says(result, 1, str(tmp_path / "file" / "results"), "Not a directory")
    assert "[Errno" not in result.stderr


def test_a_damaged_result(tmp_path):
    config = configured(tmp_path / "results")
    config.directory.mkdir(parents=True)
    (config.directory / "result.json").write_text("{")
    assert says(call(*QUICK, "--device", "cpu"), 1, "result.json is damaged")
    assert raw(config.directory) == {"result.json": b"{"}


def test_a_run_in_another_process(tmp_path):
    config = configured(tmp_path / "results")
    with owned(config.directory):
        assert says(call(*QUICK, "--device", "cpu"), 1, "another process is working on")


def test_a_loss_that_diverges(tmp_path):
    result = call(*QUICK, "--lr", "1e20")
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    *_, last = result.stderr.splitlines()
    assert last.startswith("Error: training diverged in epoch 1") and result.stdout == ""


FAILURES = {
    "interrupted; the same command goes on": KeyboardInterrupt(),
    "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB": RuntimeError(
        "CUDA out of memory.\n  Tried to allocate 2 GiB"
    ),
    "results/x: No space left on device": OSError(28, "No space left on device", "results/x"),
    "KeyError: 'weight'": KeyError("weight"),
    "the network is damaged": ValueError("the network\nis damaged"),
    "R is infinite": FloatingPointError("R is infinite"),
    "MemoryError: ": MemoryError(),
}


@pytest.mark.parametrize("sentence, error", FAILURES.items(), ids=FAILURES)
def test_whatever_fails_is_one_sentence_and_exit_code_1(monkeypatch, sentence, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("experiments.runs.run.run", fail)
    result = call("run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.lstrip("\n") == f"Error: {sentence}\n"  # click ends the line of ^C


def test_synflow_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("SYNFLOW_DEBUG", "1")
    result = call("inspect", "nowhere")
    assert isinstance(result.exception, FileNotFoundError)


# ---- a run ----------------------------------------------------------------------------------


def test_a_run_ends_with_the_path_of_its_result(tmp_path):
    """The last line on stdout; progress and the estimate go to stderr."""
    result = call(*QUICK, "--results", "there")
    assert result.exit_code == 0
    kept, untrained, best, final, last = result.stdout.splitlines()
    path = Path(last.removeprefix("result: "))
    assert path.is_absolute() and path.is_relative_to(tmp_path / "there")
    content = json.loads(path.read_text())
    live = f"{content['effective']:,} effective, 0 empty tensors"
    assert kept == f"kept 5,020 of 50,200 weights, {live}, connected"
    for line, name in ((untrained, "untrained"), (best, "best"), (final, "final")):
        assert line.split()[0] == name and f"{content[name]['top1']:.2f} %" in line
    assert "pruning to 1/10" in result.stderr
    assert re.search(r"epoch 2/2  lr 0\.1  train loss [\d.]+ .* 0:00:00 left", result.stderr)


def test_a_finished_run_prints_the_same_result_and_does_nothing(finished, nothing_is_built):
    before = raw(finished)
    result = call(*QUICK, "--results", str(finished.parent), "--device", "cpu")
    assert result.exit_code == 0 and raw(finished) == before
    assert result.stdout.splitlines()[-1] == f"result: {finished / 'result.json'}"
    assert result.stderr == "this run is finished; it is not repeated\n"


def test_without_epochs_only_the_pruning_is_reported(tmp_path):
    result = call("run", "--epochs", "0", "--compression", "50200", "--steps", "1")
    kept, last = result.stdout.splitlines()
    state = "0 effective, 2 empty tensors, NOT connected (layer-collapse)"
    assert kept == f"kept 1 of 50,200 weights, {state}"
    assert last.startswith("result: /")


def test_lr_drops_of_the_command_line_are_seen_in_the_history(tmp_path):
    result = call("run", "--steps", "1", "--epochs", "4", "--lr-drops", "1,3", "--lr", "0.08")
    directory = Path(result.stdout.splitlines()[-1].removeprefix("result: ")).parent
    rows = (directory / "history.csv").read_text().splitlines()[1:]
    # approximate: 0.1 * 0.08 is not the float 0.008
    assert [float(row.split(",")[1]) for row in rows] == pytest.approx([0.08, 0.008, 0.008, 8e-4])


def test_a_factory_is_found_in_the_folder_of_the_command(tmp_path, monkeypatch):
    """By `python cli.py` and by the installed `synflow`."""
    (tmp_path / "folder_net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = call("run", "--model", "folder_net:net", "--epochs", "0")
    assert result.exit_code == 0 and "kept 64 of 640 weights" in result.stdout


@pytest.mark.slow
def test_the_default_run_in_a_process_of_its_own(tmp_path):
    """mlp, digits, synflow, compression 10, seed 0: at least 95 % top-1, and under a minute."""
    arguments = [sys.executable, str(ROOT / "cli.py"), "run"]
    ended = subprocess.run(arguments, env=ONE_THREAD, capture_output=True, text=True, check=True)
    path = Path(ended.stdout.splitlines()[-1].removeprefix("result: "))
    result = json.loads(path.read_text())
    assert path.parent.parent == tmp_path / "results"
    assert result["final"]["top1"] >= 95 and result["kept"] == 5_020 and result["connected"]
    given = {"model": "mlp", "dataset": "digits", "pruner": "synflow", "compression": 10, "seed": 0}
    assert given.items() <= result["config"].items() and result["steps"] == 100
    assert sum(result["seconds"].values()) < 60


def test_defaults_are_those_of_the_contract():
    """The help shows them in brackets: `[mlp]`."""
    config = resolve({})
    assert (config.model, config.dataset, config.pruner) == ("mlp", "digits", "synflow")
    assert (config.compression, config.seed, config.results) == (10, 0, "results")
    assert resolve({"pruner": "magnitude"}).steps == 1 and config.steps == 100
    for name in (
        "model",
        "dataset",
        "pruner",
        "schedule",
        "scope",
        "init",
        "score-dtype",
        "device",
    ):
        shown = re.search(r"\[(.+)\]$", OPTIONS[name]["help"])[1]
        assert shown == getattr(RunConfig(), name.replace("-", "_"))
    for name in ("compression", "seed", "width"):
        assert OPTIONS[name]["help"].endswith(f"[{getattr(config, name):g}]")


# ---- inspect --------------------------------------------------------------------------------


def test_inspect_shows_layers_connection_and_certificate(finished):
    result = call("inspect", str(finished))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    heads = "tensor shape size kept effective density dead in dead out"
    assert lines[0].split() == heads.split()
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["1.weight", "300x64", "19,200"],
        ["3.weight", "100x300", "30,000"],
        ["5.weight", "10x100", "1,000"],
    ]
    assert sum(int(line.split()[3].replace(",", "")) for line in lines[1:4]) == 5_020
    assert "kept 5,020 of 50,200 weights: compression 10 in 3 steps, scores in float64" in lines
    assert "empty tensors: none" in lines and "connected: yes" in lines
    assert lines[-2].startswith("certified: no step removed more than 0.")
    assert re.fullmatch(r"compact would leave \d\d,\d{3} of 50,610 parameters", lines[-1])


@pytest.mark.parametrize(
    "extra, lines",
    [
        (
            ("--compression", "50200", "--steps", "1"),
            ["empty tensors: 1.weight, 3.weight", "connected: no, no path is left"],
        ),
        (("--pruner", "magnitude"), ["no certificate: Theorem 4 needs a conserved"]),
        (("--compression", "1000", "--steps", "1"), ["not certified: a step removed"]),
    ],
)
def test_inspect_shows_collapse_and_missing_certificates(extra, lines):
    ran = call("run", "--epochs", "0", *extra)
    directory = Path(ran.stdout.splitlines()[-1].removeprefix("result: ")).parent
    shown = call("inspect", str(directory))
    assert shown.exit_code == 0 and all(f"\n{line}" in shown.stdout for line in lines)


@pytest.mark.parametrize("name", ["result.json", "masks.npz", "layers.csv", "steps.csv"])
@pytest.mark.parametrize("content", [None, b"", b"torn"], ids=["missing", "empty", "torn"])
def test_inspect_of_a_damaged_run(tmp_path, finished, name, content):
    for file, whole in raw(finished).items():
        (tmp_path / file).write_bytes(whole)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    assert says(call("inspect", str(tmp_path)), 1, str(tmp_path / name))


def test_inspect_finds_masks_that_are_not_those_of_the_result(tmp_path, finished):
    """As many weights, of the same network, but others."""
    for file, whole in raw(finished).items():
        (tmp_path / file).write_bytes(whole)
    ran = call("run", "--epochs", "0", "--steps", "3", "--scope", "local")
    other = Path(ran.stdout.splitlines()[-1].removeprefix("result: ")).parent
    (tmp_path / "masks.npz").write_bytes((other / "masks.npz").read_bytes())
    assert says(call("inspect", str(tmp_path)), 1, f"{tmp_path / 'masks.npz'} is that of")
    owner = {"run": finished.name}
    save_masks(load_masks(other / "masks.npz"), tmp_path / "masks.npz", owner)
    text = "density of the masks is not that of result.json"
    assert says(call("inspect", str(tmp_path)), 1, text)


# ---- export ---------------------------------------------------------------------------------


def test_export_compares_the_two_networks(tmp_path, finished):
    for file, whole in raw(finished).items():
        (tmp_path / file).write_bytes(whole)
    result = call("export", str(tmp_path), "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    head, *lines, difference, path = result.stdout.splitlines()
    assert head.split() == ["masked", "compact", "ratio"]
    assert [line[:28].strip() for line in lines] == [
        *("parameters", "FLOPs of one image", "ms for a batch of 1", "ms for a batch of 128")
    ]
    assert lines[0][28:].split()[0] == "50,610" and difference.startswith("outputs are equal to ")
    assert path == f"compact: {tmp_path / 'compact.pt2'}" and (tmp_path / "compact.pt2").exists()


# ---- data -----------------------------------------------------------------------------------


def test_data_list_shows_all_data_sets_and_their_folders(tmp_path):
    result = call("data", "list", "--data-dir", "nowhere")
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert result.exit_code == 0 and list(rows) == list(DATASETS)
    assert "10 classes" in rows["digits"] and "1,437 + 360" in rows["digits"]
    assert rows["digits"].endswith(str(ROOT / "train"))
    assert all(rows[name].endswith("not here") for name in ("cifar10", "tiny-imagenet", "imagenet"))
    assert os.listdir(tmp_path) == []


def test_data_list_finds_a_data_set_in_the_data_folder(tmp_path):
    (tmp_path / "there" / "cifar-100-binary").mkdir(parents=True)
    for name in ("train.bin", "test.bin"):
        (tmp_path / "there" / "cifar-100-binary" / name).touch()
    result = call("data", "list", "--data-dir", "there")
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("cifar100 "))
    assert row.endswith("there/cifar-100-binary")


def test_data_fetch_and_verify_of_what_is_here():
    fetched, verified = call("data", "fetch", "digits"), call("data", "verify", "digits")
    assert fetched.exit_code == verified.exit_code == 0
    assert "embedded" in fetched.stdout and "1,437 + 360 images of 1 x 8 x 8" in verified.stdout


def test_data_fetch_without_network(tmp_path, monkeypatch):
    archive = fetch.Archive("cifar-10-binary.tar.gz", "http://127.0.0.1:1/x.tar.gz", "0" * 32)
    monkeypatch.setitem(fetch.ARCHIVES, "cifar10", [archive])
    where = "may be placed by hand at there/cifar-10-binary.tar.gz"
    assert says(call("data", "fetch", "cifar10", "--data-dir", "there"), 1, archive.url, where)


# ---- help -----------------------------------------------------------------------------------

CONTRACT = """--model --dataset --pruner --compression --steps --schedule --scope --seed --width
--init --device --score-dtype --data-dir --results --recipe --epochs --batch-size --lr --lr-drops
--drop-factor --weight-decay"""


def test_help_lists_every_option_of_the_contract():
    shown = call("run", "--help")
    assert shown.exit_code == 0 and shown.stderr == ""
    assert set(CONTRACT.split()) <= set(re.findall(r"--[a-z-]+", shown.stdout))


REGISTRIES = {
    "model": {*MODELS, "torchvision:NAME", "timm:NAME", "package.module:factory"},
    "dataset": {*DATASETS, "folder:PATH", "package.module:function"},
    "pruner": {*SCORES, "package.module:function"},
    "schedule": {*SCHEDULES, "certified"},
    "scope": set(SCOPES),
    "init": set(INITS),
    "recipe": set(RECIPES),
    "score-dtype": set(DTYPES),
    "precision": set(PRECISIONS),
    "ablate": set(ABLATIONS),
    "allocation": set(ALLOCATIONS),
    "log": {"tensorboard", "package.module:callback"},
}


@pytest.mark.parametrize("option", REGISTRIES)
def test_the_help_lists_every_value_and_no_other(option):
    """The text before the default, without its introduction: `Initial weights: paper or ...`."""
    text = OPTIONS[option]["help"].partition("[")[0].rpartition(": ")[2].strip().rstrip(".")
    assert set(re.split(", | or ", text)) == REGISTRIES[option]


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_help_has_each_option_in_one_group_and_examples_that_parse(command):
    shown = call(command, "--help").stdout
    titles = [line for line in shown.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles[-2:] == ["Options:", "Examples:"] and len(titles) > 5
    for param in main.commands[command].params:
        assert len(re.findall(rf"^  {param.opts[0]}\b(?!-)", shown, re.MULTILINE)) == 1, param.opts
    options = shown.partition("Options:")[2].partition("Examples:")[0]
    assert set(re.findall(r"^  (--[a-z-]+)", options, re.MULTILINE)) <= {
        *("--config", "--like", "--preset", "--jobs", "--shard", "--dry-run"),
    }
    for line in EXAMPLES[command]:
        assert f" {command} {line}\n" in shown
        if "--config" not in line:
            main.commands[command].make_context(command, line.split())


COMPLETED = {
    ("run", "--model", "vgg1"): ["vgg11", "vgg16", "vgg19", "vgg19-plain"],
    ("run", "--pruner", "gr"): ["grasp", "grasp-text"],
    ("run", "--schedule", ""): ["exponential", "linear", "certified"],
    ("sweep", "--pruners", "snip,mag"): ["snip,magnitude"],
    ("sweep", "--seeds", "0,"): [],
    ("data", "fetch", "cifar"): ["cifar10", "cifar100"],
}


@pytest.mark.parametrize("line", COMPLETED, ids=" ".join)
def test_shells_complete_names_without_torch(line):
    (*typed, incomplete) = line
    code = (
        "import sys, cli\n"
        "from click.shell_completion import ShellComplete\n"
        f"found = ShellComplete(cli.main, {{}}, 'synflow', '').get_completions({typed}, "
        f"{incomplete!r})\n"
        "print([item.value for item in found], 'torch' in sys.modules)"
    )
    given = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True)
    assert ended.stdout == f"{COMPLETED[line]} False\n", ended.stderr


@pytest.mark.parametrize("option", CHOICES)
def test_names_that_are_completed_are_those_of_the_help(option):
    shown = REGISTRIES.get(option, set(CHOICES[option]))
    assert set(CHOICES[option]) == {n for n in shown if ":" not in n} and CHOICES[option]


@pytest.mark.parametrize(("option", "value"), [("pruners", "synflow,snip,"), ("seeds", "0,,1")])
def test_an_empty_entry_of_a_list_has_a_sentence_of_its_own(option, value):
    assert says(call("sweep", f"--{option}", value), 2, option, f"{value!r} has an empty entry")


def test_of_an_option_that_is_given_again_the_last_counts():
    """So a script may override the options of another; it does so for lists, too."""
    words = ("sweep", "--dry-run", "--json", "--pruners", "snip", "--compressions", "2")
    one, other = call(*words, "--seeds", "4,5", "--seeds", "6"), call(*words, "--seeds", "6")
    assert one.exit_code == 0 and json.loads(one.stdout)["runs"] == json.loads(other.stdout)["runs"]


def test_the_lists_of_a_sweep_have_the_same_help():
    for option in ("model", "dataset", "pruner", "allocation"):
        listed = f"{option}s"
        (found,) = (p.help for p in main.commands["sweep"].params if p.name == listed)
        assert found.partition("  [")[0] == OPTIONS[option]["help"].partition("  [")[0]


def test_the_version():
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"synflow {synflow.__version__}\n")


IMPORTED = """
import runpy, sys
kind, name, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = name
run = {"path": runpy.run_path, "module": runpy.run_module}[kind]
try:
    run(name, run_name="__main__")
except SystemExit as end:
    slow = {"torch", "torchvision", "numpy", "matplotlib"} & set(sys.modules)
    sys.exit(end.code or f"{slow} imported" if slow else 0)
"""
PROGRAMS = {
    "python cli.py": ("path", str(ROOT / "cli.py")),
    "python -m synflow": ("module", "synflow"),
}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["data", "-h"], ["--version"]]
)
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_slow(program, arguments):
    """So that it takes under half a second."""
    line = [sys.executable, "-c", IMPORTED, *PROGRAMS[program], *arguments]
    ended = subprocess.run(
        line, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith((f"Usage: {program}", f"synflow {synflow.__version__}"))
