"""Fixtures, and profiles of Hypothesis.

`ci`, the default, draws the same examples each time; `--hypothesis-profile=explore` draws ten
times as many at random. `mutation` is `ci` without shrinking: it stops at the first failure.
"""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from train import launch

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, suppress_health_check=QUIET
)
settings.register_profile("explore", max_examples=1000, deadline=None, suppress_health_check=QUIET)
settings.register_profile(
    "mutation", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("ci")
launch.fix_sums()  # as the command line
torch.set_num_threads(1)  # for small networks a second thread costs more than it gains


def pytest_collection_modifyitems(items):
    """Skip tests marked `gpu` where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def one_thread():
    """Use one thread: faster for small networks, and equal in several processes."""
    from proofs_tests.tools.runs import single_thread

    with single_thread():
        yield


@pytest.fixture
def one_process(monkeypatch):
    """Sweeps do their runs in this process: a worker takes seconds to start."""
    from experiments.sweeps import sweep, workers

    monkeypatch.setattr(sweep, "work", lambda configs, jobs: map(workers.attempt, [*configs]))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The directory of a finished run; tests only read it."""
    from experiments.runs.run import run
    from proofs_tests.tools.runs import configured, single_thread

    with single_thread():
        return run(configured(tmp_path_factory.mktemp("finished"))).parent


@pytest.fixture
def nothing_is_built(monkeypatch):
    """Fail the test if a network is built, pruned or trained, or images are read."""
    for name in ("run.initial_model", "build.load", "run.prune", "training.train"):
        refuse = lambda *_, name=name, **__: pytest.fail(f"{name} ran")  # noqa: E731
        monkeypatch.setattr(f"experiments.runs.{name}", refuse)


FACTORY = """
from torch import nn
def net(input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(216, num_classes),
    )
"""


@pytest.fixture
def factory(tmp_path, monkeypatch) -> str:
    """The name of a model in a package outside the project."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("theirs", "theirs.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "theirs.nets:net"
