"""Options from a TOML file or from the result of another run."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from experiments.commandline.console import configured
from experiments.commandline.option_files import command_of, options_of
from experiments.config import RunConfig
from experiments.resolve import resolve
from experiments.runs.files import read_result

pytestmark = pytest.mark.usefixtures("one_thread")
needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of Python 3.11")

RUNS = [
    {},
    {"pruner": "snip", "bn": "batch", "model": "vgg11", "dataset": "cifar10"},
    {"schedule": "certified", "epochs": 0},
    {"pruner": "random", "allocation": "erk", "compression": 3.0, "seed": 5},
    {"compression": 1.0, "recipe": "paper", "epochs": 7, "lr_drops": (2, 4)},
    {"model": "vgg16", "dataset": "cifar100", "recipe": "published", "steps": 7},
    {"exclude": ("5*",), "steps": 1, "scope": "local"},
    {"pruner": "snip", "schedule": "linear", "steps": 50, "lr": 0.0123456789},
    {"epochs": 0, "compression": 3.3333333333333335},
    {"epochs": 3, "lr_drops": (), "record_weights": True, "compile": True},
]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def folder_of(done: Result) -> Path:
    assert done.exit_code == 0, done.output
    return Path(done.stdout.splitlines()[-1].removeprefix("result: ")).parent


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("given", RUNS)
def test_options_of_a_configuration_make_it_again(given):
    config = resolve({**given, "device": "cpu"})
    options = options_of(config)
    assert resolve({**options, "device": "cpu"}) == config
    assert set(options) <= {*given, "device", "precision"}  # none that was not given


def made_by(words: list[str]) -> RunConfig:
    """The configuration that a command line makes."""
    command = main.commands[words[1]]
    context = command.make_context(words[1], words[2:])
    return configured(context.params | {"device": "cpu"})


@pytest.mark.parametrize("given", [*RUNS, {"cycles": 2, "epochs": 3, "rewind": False}])
def test_the_command_of_a_configuration_makes_it_again(given):
    config = resolve({**given, "device": "cpu"})
    assert made_by(command_of(config)) == config


def test_the_command_names_an_own_score_and_its_steps_and_does_not_import_it():
    config = replace(resolve({"steps": 1, "epochs": 0}), pruner="no_such_module:score")
    words = command_of(config)
    assert shlex.join(words[:4]) == "synflow run --pruner no_such_module:score"
    assert words[words.index("--steps") + 1] == "1"


def test_a_run_like_another_is_that_run(tmp_path):
    first = folder_of(call("run", "--epochs", 1, "--compression", 5, "--steps", 3, "--seed", 2))
    again = folder_of(call("run", "--like", first / "result.json"))
    assert again == first
    other = folder_of(call("run", "--like", first / "result.json", "--seed", 3))
    configs = [read_result(folder / "result.json")["config"] for folder in (first, other)]
    assert configs[1] == configs[0] | {"seed": 3}


def test_the_steps_follow_the_score_unless_they_were_given():
    first = folder_of(call("run", "--epochs", 0))
    other = folder_of(call("run", "--like", first / "result.json", "--pruner", "magnitude"))
    assert [read_result(f / "result.json")["config"]["steps"] for f in (first, other)] == [100, 1]


def test_code_that_a_result_names_is_run_only_if_it_is_typed():
    Path("my_net.py").write_text("from proofs_tests.tools.factories import small as net\n")
    first = folder_of(call("run", "--model", "my_net:net", "--epochs", 0))
    Path("my_net.py").write_text("raise SystemExit('it was run')")
    del sys.modules["my_net"]
    refused = call("run", "--like", first / "result.json")
    assert refused.exit_code == 2 and "--model my_net:net" in refused.stderr
    assert "my_net" not in sys.modules
    Path("my_net.py").write_text("from proofs_tests.tools.factories import small as net\n")
    given = "--like", first / "result.json", "--model", "my_net:net"
    assert folder_of(call("run", *given)) == first


def test_results_that_are_damaged_or_of_imp_are_refused():
    Path("result.json").write_text("{}")
    refused = call("run", "--like", "result.json")
    assert refused.exit_code == 2 and "it lacks" in refused.stderr
    done = folder_of(call("imp", "--cycles", 1, "--epochs", 1)) / "result.json"
    assert json.loads(done.read_text())["config"]["cycles"] == 1
    refused = call("run", "--like", done)
    assert refused.exit_code == 2 and "is a result of imp" in refused.stderr


@needs_toml
def test_a_file_of_options_is_as_good_as_typing_them():
    lines = 'pruner = "magnitude"', "compression = 5", "epochs = 1", 'exclude = ["1.*", "5.*"]'
    Path("run.toml").write_text("\n".join([*lines, "compact = false", 'lr-drops = "none"']))
    typed = "--pruner", "magnitude", "--compression", 5, "--epochs", 1
    first = folder_of(
        call("run", *typed, "--exclude", "1.*,5.*", "--no-compact", "--lr-drops", "none")
    )
    assert folder_of(call("run", "--config", "run.toml")) == first
    other = folder_of(call("run", "--config", "run.toml", "--compression", 6))
    assert read_result(other / "result.json")["config"]["compression"] == 6


@needs_toml
def test_a_sweep_takes_arrays():
    text = 'pruners = ["magnitude", "synflow"]\ncompressions = [1, 10.5]\nseeds = 3\nepochs = 0\n'
    Path("sweep.toml").write_text(text)
    typed = (
        "--pruners",
        "magnitude,synflow",
        "--compressions",
        "1,10.5",
        "--seeds",
        3,
        "--epochs",
        0,
    )
    plans = [
        call("sweep", *options, "--dry-run", "--json")
        for options in (("--config", "sweep.toml"), typed)
    ]
    names = [[row["run"] for row in json.loads(plan.stdout)["runs"]] for plan in plans]
    assert plans[0].exit_code == 0 and names[0] == names[1] and len(names[0]) == 3


@needs_toml
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("compresion = 5", "sets 'compresion'; the options are"),
        ("compression = [", "is no TOML file"),
        ("compact = 1", "true or false is expected"),
        ("seed = true", "a text, a number or an array is expected"),
        ("[training]\nepochs = 1", "sets 'training'"),
        ('seed = "three"', "'three' is not a valid integer"),
        ("compression = 0.5", "--compression must be at least 1"),
    ],
)
def test_wrong_files_of_options_are_refused_in_one_sentence(text, words):
    Path("run.toml").write_text(text)
    refused = call("run", "--config", "run.toml")
    assert refused.exit_code == 2 and words in refused.stderr and refused.stderr.count("\n") == 1
