"""`figure table`: statistics over seeds against numbers worked out by hand."""

import csv
from math import sqrt

import pytest
from click.testing import CliRunner

from cli import main
from experiments.figures.statistics import summary, t_quantile
from proofs_tests.tools.sweeps import result, sweep

# Two-sided 95 % points, as printed in tables of Student's t.
PRINTED = {
    1: 12.7062,
    2: 4.3027,
    3: 3.1824,
    4: 2.7764,
    5: 2.5706,
    9: 2.2622,
    30: 2.0423,
    120: 1.9799,
}


@pytest.mark.parametrize("freedom", PRINTED)
def test_quantiles_are_those_of_printed_tables(freedom):
    assert t_quantile(freedom) == pytest.approx(PRINTED[freedom], abs=5.1e-5)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_two_degrees_of_freedom_have_a_closed_form(level):
    """P(|T| < t) = t / sqrt(2 + t^2), so t = level sqrt(2 / (1 - level^2))."""
    assert t_quantile(2, level) == pytest.approx(level * sqrt(2 / (1 - level**2)), rel=1e-12)


def test_a_summary_by_hand():
    """Of 1 to 5: s = sqrt(2.5), s / sqrt(5) = 0.70711, times 2.77645 makes 1.96324."""
    found = summary([3.0, 1.0, 2.0, 5.0, 4.0])
    assert found[:4] == (5, 3.0, 1.0, 5.0)
    assert found.low == pytest.approx(3 - 1.96324, abs=1e-5)
    assert found.high == pytest.approx(3 + 1.96324, abs=1e-5)


def test_one_seed_has_no_interval():
    assert summary([7.0]) == (1, 7.0, 7.0, 7.0, None, None)


def table(folder, name, *options):
    """Run the command and read a CSV as {(series, compression): row}."""
    done = CliRunner().invoke(main, ["figure", "table", "--results", str(folder), *options])
    assert done.exit_code == 0, done.output
    with open(folder / "figures" / f"{name}.csv", newline="") as file:
        return {(row["series"], float(row["compression"])): row for row in csv.DictReader(file)}


def numbers(row):
    return [float(row[key]) for key in ("n", "mean", "least", "largest", "low", "high")]


def test_accuracies_over_seeds(tmp_path):
    """Magnitude has 80 and 79 at 10: s / sqrt(2) = 1/2, times 12.7062."""
    sweep(tmp_path)
    found = table(tmp_path, "table")
    assert set(found) == {
        ("dense", 1),
        *((pruner, rho) for pruner in ("magnitude", "synflow") for rho in (10, 100)),
    }
    ends = [79.5 - 6.3531, 79.5 + 6.3531]
    assert numbers(found["magnitude", 10]) == pytest.approx([2, 79.5, 79, 80, *ends], abs=1e-4)
    assert found["magnitude", 10]["network"] == "MLP, digits"


def test_differences_are_of_equal_seeds(tmp_path):
    """Magnitude minus SynFlow: 80 - 85 and 79 - 86; a third seed is not in both."""
    sweep(tmp_path)
    result(tmp_path, "synflow", 10, 99.0, seed=7)
    found = table(tmp_path, "differences")
    assert set(found) == {("magnitude - synflow", 10), ("magnitude - synflow", 100)}
    expected = [2, -6, -7, -5, -6 - 12.7062, -6 + 12.7062]
    assert numbers(found["magnitude - synflow", 10]) == pytest.approx(expected, abs=1e-4)


def test_networks_are_rows_of_their_own_and_can_be_chosen(tmp_path):
    sweep(tmp_path)
    result(tmp_path, "snip", 10, 70.0, options={"width": 0.5})
    assert table(tmp_path, "table")["snip", 10]["network"] == "MLP (width 0.5), digits"
    assert set(table(tmp_path, "table", "--width", "0.5")) == {("snip", 10)}
    assert table(tmp_path, "table", "--best")["snip", 10]["mean"] == "71.0"


def test_latex_has_the_same_rows(tmp_path):
    result(tmp_path, "snip", 10, 70.0, options={"exclude": ("[5_].*",)})
    result(tmp_path, "synflow", 1000, 81.25)
    table(tmp_path, "table")
    assert (tmp_path / "figures/table.tex").read_text().splitlines() == [
        r"\begin{tabular}{lrlrrrrrrr}",
        r"network & epochs & series & compression & n & mean & least & largest & low & high \\",
        r"\hline",
        r"MLP, digits & 30 & snip without [5\_].* & 10 & 1 & 70.00 & 70.00 & 70.00 & -- & -- \\",
        r"MLP, digits & 30 & synflow & 1000 & 1 & 81.25 & 81.25 & 81.25 & -- & -- \\",
        r"\end{tabular}",
    ]
    assert not (tmp_path / "figures/differences.csv").exists()
