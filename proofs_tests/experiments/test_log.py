"""`--log`: the values that callbacks get, each step once, also after a kill; TensorBoard."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from cli import main
from experiments import callbacks
from experiments.runs import files
from experiments.runs.imp import imp
from experiments.runs.log import LOGGED
from experiments.runs.run import run
from proofs_tests.tools import ROOT
from proofs_tests.tools.callbacks import seen
from proofs_tests.tools.runs import Killed, configured, interrupted_in
from proofs_tests.tools.site import TITLED

pytestmark = pytest.mark.usefixtures("one_thread")

OURS = "proofs_tests.tools.callbacks"
KEEP = f"{OURS}:keep"
DENSITIES = [f"density/{name}.weight" for name in ("1", "3", "5")]


def call(*arguments: object):
    return CliRunner().invoke(main, [*map(str, arguments)])


def steps(directory: Path) -> list[int]:
    return [line["step"] for line in seen(directory)]


def test_a_callback_gets_the_densities_before_training_and_the_history_after_each_epoch(tmp_path):
    config = configured(tmp_path, log=KEEP)
    result = files.read_result(run(config))
    first, *epochs = seen(config.directory)
    assert [first[name] for name in DENSITIES] == [*result["density"].values()]
    untrained = {name: first["test_loss" if name == "loss" else name] for name in result["best"]}
    assert untrained == result["untrained"] and (first["step"], first["epoch"]) == (0, 0)
    history = files.read_rows(config.directory / files.HISTORY, files.HISTORY_COLUMNS)
    assert [{name: line[name] for name in files.HISTORY_COLUMNS} for line in epochs] == history
    assert steps(config.directory) == [0, 1, 2]
    facts = json.loads(json.dumps(config.decisive))
    place = str(config.directory)
    assert first["run"] == {"name": config.directory.name, "directory": place, "config": facts}


def test_a_log_changes_neither_the_name_nor_the_result_of_a_run(tmp_path):
    config = configured(tmp_path, log=KEEP)
    assert config.directory == configured(tmp_path).directory
    assert "log" not in files.read_result(run(config))["config"]


def test_without_epochs_the_densities_are_logged(tmp_path):
    config = configured(tmp_path, epochs=0, log=KEEP)
    run(config)
    [line] = seen(config.directory)
    assert set(line) == {"step", "epoch", "run", *DENSITIES}


@pytest.mark.parametrize("later", [False, True])
def test_a_resumed_run_logs_each_epoch_once(tmp_path, later):
    """Also those of an earlier session that had no log."""
    config = configured(tmp_path, epochs=3, lr_drops=(), log=KEEP)
    with interrupted_in(epoch=3):
        run(configured(tmp_path, epochs=3, lr_drops=()) if later else config)
    run(config)
    assert steps(config.directory) == [0, 1, 2, 3]
    run(config)
    assert steps(config.directory) == [0, 1, 2, 3]


def test_a_run_that_is_killed_while_it_logs_does_not_log_that_epoch_again(tmp_path):
    config = configured(tmp_path, log=f"{OURS}:killed")
    with pytest.raises(Killed):
        run(config)
    run(config)
    assert steps(config.directory) == [0, 1, 2]


def test_a_callback_that_fails_ends_the_run_in_one_sentence_and_gets_the_step_again(tmp_path):
    options = ["--steps", 3, "--epochs", 2, "--results", tmp_path, "--device", "cpu"]
    first = call("run", *options, "--log", f"{OURS}:failing")
    words = f"Error: --log {OURS}:failing failed at step 1: ConnectionError: no network"
    assert (first.exit_code, first.stderr.splitlines()[-1]) == (1, words)
    [directory] = tmp_path.iterdir()
    (directory / "mended").touch()
    assert call("run", *options, "--log", f"{OURS}:failing").exit_code == 0
    assert steps(directory) == [0, 1, 2]


def test_a_callback_that_ends_the_program_fails(tmp_path):
    with pytest.raises(ValueError, match="leaving failed at step 0: SystemExit: 3"):
        run(configured(tmp_path, log=f"{OURS}:leaving"))


def test_the_steps_of_imp_count_on_through_its_trainings(tmp_path):
    config = configured(tmp_path, steps=None, cycles=2, epochs=1, compression=100.0, log=KEEP)
    imp(config)
    lines = seen(config.directory)
    assert [(line["step"], line["epoch"]) for line in lines] == list(enumerate([0, 1] * 3))
    assert [line["density/3.weight"] == 1 for line in lines[::2]] == [True, False, False]
    result = files.read_result(config.directory / files.RESULT)
    assert [lines[4][name] for name in DENSITIES] == [*result["density"].values()]
    assert lines[5]["top1"] == result["final"]["top1"]


def test_the_runs_of_a_sweep_log_in_its_workers(tmp_path):
    grid = "--pruners random,magnitude --compressions 10 --seeds 0 --epochs 1 --device cpu"
    done = call("sweep", *grid.split(), "--log", KEEP, "--results", tmp_path)
    assert done.exit_code == 0, done.output
    folders = [path.parent for path in tmp_path.glob("*/result.json")]
    assert [steps(folder) for folder in folders] == [[0, 1], [0, 1]]


def test_a_training_that_another_run_has_done_is_logged_whole(tmp_path):
    given = {"compression": 1.0, "steps": None}
    run(configured(tmp_path, pruner="magnitude", **given))
    config = configured(tmp_path, pruner="random", **given, log=KEEP)
    run(config)
    assert steps(config.directory) == [0, 1, 2]


def test_a_damaged_note_of_the_steps_is_named(tmp_path):
    config = configured(tmp_path, log=KEEP)
    config.directory.mkdir(parents=True)
    for text in ("{", "[]", '{"tensorboard": "1"}'):
        (config.directory / LOGGED).write_text(text)
        with pytest.raises(ValueError, match=f"log file .*{LOGGED} is damaged"):
            run(config)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Tensorboard", "not Tensorboard; did you mean tensorboard?"),
        ("my_log.log", "package.module:callback, not my_log.log; did you mean my_log:log?"),
        (f"{OURS}:other_arguments", "must take (step, values, run)"),
        (f"{OURS}:none", "is no callback that can be imported"),
    ],
)
def test_a_wrong_callback_is_a_usage_error_before_any_work(tmp_path, name, words):
    found = call("run", "--log", name, "--results", tmp_path)
    assert (found.exit_code, words in found.stderr) == (2, True), found.stderr
    assert not list(tmp_path.iterdir())


# ---- TensorBoard ----------------------------------------------------------------------------


class Writer:
    """Stands for torch's SummaryWriter."""

    def __init__(self, folder: str):
        self.folder, self.scalars, self.flushed, self.closed = folder, [], 0, False
        WRITERS.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert not self.closed
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        self.flushed = len(self.scalars)

    def close(self) -> None:
        self.closed = True


WRITERS: list[Writer] = []


@pytest.fixture
def writers(monkeypatch) -> list[Writer]:
    """The writers that are made while a small module stands for torch.utils.tensorboard."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    WRITERS.clear()
    yield WRITERS
    callbacks.close()


def test_tensorboard_gets_curves_and_densities_in_the_folder_of_each_run(tmp_path, writers):
    configs = [configured(tmp_path, log="tensorboard", seed=seed) for seed in (0, 1)]
    for config in configs:
        run(config)
    assert [writer.folder for writer in writers] == [str(c.directory) for c in configs]
    first, second = writers
    assert (first.closed, second.closed) == (True, False)
    assert first.flushed == len(first.scalars) and second.flushed == len(second.scalars)
    named = {name: [s for n, _, s in first.scalars if n == name] for name, *_ in first.scalars}
    assert {name: named[name] for name in ("top1", "test_loss")} == {
        "top1": [0, 1, 2],
        "test_loss": [0, 1, 2],
    }
    assert named["train_loss"] == [1, 2] and all(named[name] == [0] for name in DENSITIES)


def test_without_tensorboard_one_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    found = call("run", "--log", "tensorboard", "--results", tmp_path)
    words = "--log tensorboard needs the package tensorboard: pip install 'synflow[tensorboard]'"
    assert (found.exit_code, found.stderr) == (2, f"Error: {words}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_itself_reads_the_curves(tmp_path):
    name = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(name, reason="needs synflow[tensorboard]")
    config = configured(tmp_path, log="tensorboard")
    run(config)
    callbacks.close()
    events = reader.EventAccumulator(str(config.directory))
    events.Reload()
    history = files.read_rows(config.directory / files.HISTORY, files.HISTORY_COLUMNS)
    curve = {event.step: event.value for event in events.Scalars("top1") if event.step}
    assert curve == pytest.approx({int(row["epoch"]): float(row["top1"]) for row in history})
    assert set(DENSITIES) <= set(events.Tags()["scalars"])


# ---- a user's own ---------------------------------------------------------------------------


class Session(ModuleType):
    """Stands for wandb: one open run, and the values that each run got."""

    run = None

    def __init__(self):
        super().__init__("wandb")
        self.got: dict[str, list] = {}

    def init(self, project, id, config, resume):
        assert (project, resume) == ("synflow", "allow") and config["dataset"] == "digits"
        assert self.run is None
        self.run = ModuleType(id)
        self.run.id = id

    def finish(self):
        self.run = None

    def log(self, values, step):
        self.got.setdefault(self.run.id, []).append((step, values["epoch"]))


def test_the_callbacks_of_the_page_have_at_most_ten_lines_and_the_first_works(
    tmp_path, monkeypatch
):
    blocks = dict(TITLED.findall((ROOT / "docs/howto/watch.md").read_text()))
    assert len(blocks) == 3 and all(text.count("\n") <= 10 for text in blocks.values())
    monkeypatch.setitem(sys.modules, "wandb", wandb := Session())
    (tmp_path / "to_wandb.py").write_text(blocks["to_wandb.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    for seed in (0, 1):
        run(config := configured(tmp_path, log="to_wandb:log", seed=seed))
        assert wandb.got[config.directory.name] == [(0, 0), (1, 1), (2, 2)]
