"""Small things that a user meets first: what is missing, what a name may be, whole sentences."""

import shutil

import pytest
from click.testing import CliRunner, Result

from cli import main
from experiments.figures import walks
from experiments.figures.cells import folder
from experiments.resolve import resolve
from proofs_tests.train.test_own_data import folder as pictures

pytestmark = pytest.mark.usefixtures("one_thread")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_dry_run_names_the_data_that_are_missing(tmp_path):
    given = ("--datasets", "digits,mnist", "--compressions", 10, "--seeds", "0,1")
    done = call("sweep", *given, "--data-dir", tmp_path, "--results", tmp_path, "--dry-run")
    (missing,) = [line for line in done.stdout.splitlines() if line.startswith("data  mnist (")]
    assert done.exit_code == 0 and "20 of 20 runs to do" in done.stdout
    assert missing.endswith(f"; run `synflow data fetch mnist --data-dir {tmp_path}`")


def test_own_data_are_not_fetched_in_one_sentence(tmp_path):
    name = pictures(tmp_path / "own")
    done = call("data", "fetch", name)
    sentence = f"{name} is a data set of your own, in {tmp_path}/own; there is nothing to fetch"
    assert done.exit_code == 1 and done.stderr == f"Error: {sentence}\n"


@pytest.mark.parametrize("command", ["inspect", "export"])
def test_the_result_file_stands_for_its_directory(tmp_path, finished, command):
    shutil.copytree(finished, copy := tmp_path / finished.name)
    done = call(command, copy / "result.json")
    assert done.exit_code == 0, done.output


def test_the_list_of_commands_has_whole_sentences():
    shown = call("--help").stdout.partition("Commands:")[2]
    assert "..." not in shown and "the certificate of Theorem 4." in " ".join(shown.split())


@pytest.mark.parametrize(
    ("ask", "words", "answer"),
    [
        ("zsh_source", "", "#compdef synflow"),
        ("bash_complete", "synflow run --model wr", "plain,wrn18"),
    ],
)
def test_shells_get_names_and_no_error(ask, words, answer):
    asked = {"_SYNFLOW_COMPLETE": ask, "COMP_WORDS": words, "COMP_CWORD": "3"}
    done = CliRunner().invoke(main, [], env=asked, prog_name="synflow")
    assert (done.exit_code, done.stderr) == (0, "") and answer in done.stdout


def test_a_figure_that_is_computed_says_so(tmp_path, monkeypatch):
    given = ("figure", 7, "--model", "mlp", "--dataset", "digits", "--results", tmp_path)
    cell = walks.Cell("exponential", 2.0, 1)
    monkeypatch.setattr("experiments.figures.prune_cut_ratio.wanted", lambda full: [cell])
    said = "all numbers of this figure are computed; nothing is repeated\n"
    first, second = (call(*given, "--compute") for _ in range(2))
    config = resolve({"results": str(tmp_path), "epochs": 0})
    assert cell.path(config).parent == folder(config) and cell.path(config).exists()
    assert said not in first.stderr and said in second.stderr
