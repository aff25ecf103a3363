"""`python -m benchmarks.training_cpu`: both loops are measured, and ratios are of one round."""

import pytest

from benchmarks import training_cpu

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("loop", ["plain", "ours"])
def test_a_loop_is_measured(loop, monkeypatch):
    monkeypatch.setattr(training_cpu, "NETWORKS", {("vgg11", 1 / 16): (4, 2)})
    found = training_cpu.measured(loop, "vgg11", 1 / 16)
    assert found["seconds"] > 0 and 0.05 < found["convolutions"] < 1


def test_ratios_are_those_of_images_per_second_of_one_round():
    def runs(*seconds):
        return [{"seconds": s, "faults": 1000.0, "convolutions": 0.5} for s in seconds]

    cells = training_cpu.cells("ours", {"plain": runs(2, 6, 3), "ours": runs(1, 2, 2)}, 64)
    assert cells == ["32", "1.50 / 2.00 / 3.00", "1,000", "50%"]
