"""One Prefect API for all tests of flows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from segpipe.config import EvaluationConfig, make_config


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A server with a database of its own; starting it takes seconds, so there is one for all."""
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def config(tmp_path: Path, demo_small: Path) -> EvaluationConfig:
    """A configuration of the small demo dataset."""
    return make_config(
        {
            "suite": "Flow_tests",
            "truth": f"{demo_small}/truth.zarr::labels",
            "pred": f"{demo_small}/model_a.zarr::labels",
            "classes": "cityscapes",
            "ignore_labels": [255],
            "cluster": "threads",
            "results": str(tmp_path / "results"),
        }
    )
