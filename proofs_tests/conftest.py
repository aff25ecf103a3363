"""Profiles: `ci` repeats itself exactly; `--hypothesis-profile=explore` draws far more."""

import pytest
import torch
from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, suppress_health_check=QUIET
)
settings.register_profile("explore", max_examples=2000, deadline=None, suppress_health_check=QUIET)
settings.load_profile("ci")
torch.set_num_threads(1)  # small networks: a second thread costs more than it does


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped, not failed, where no CUDA device is."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
