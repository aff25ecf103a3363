"""Fixtures of the figures' tests."""

import pytest

from experiments.config import RunConfig


@pytest.fixture(scope="session")
def computed(tmp_path_factory) -> RunConfig:
    """The cells of Figs 2, 3, 4 and 7 of a tiny network: SynFlow in 4 steps, digits as data."""
    from experiments.figures import layer_density, one_shot, prune_cut_ratio
    from experiments.runs.progress import Silent
    from proofs_tests.tools.network_figures import take_few_steps, tiny

    config = tiny(tmp_path_factory.mktemp("computed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_shot, "SUBSTITUTES", ("digits",))
        take_few_steps(patch)
        layer_density.compute([config], Silent())
        prune_cut_ratio.compute([config], Silent())
    return config


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Figures 2 and 7 take few pruning steps."""
    from proofs_tests.tools.network_figures import take_few_steps

    take_few_steps(monkeypatch)
