"""What all tests share: their environment, hypothesis profiles, a small demo dataset, real label maps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from segpipe.writing.demo import Dataset, write_demo
from tests.warm import Warm

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
SMALL = Dataset(images=12, height=64, width=128)

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_configure(config: pytest.Config) -> None:
    """One private folder per session: kernels are compiled once, Prefect keeps to it, nothing phones home."""
    settings.load_profile("ci" if os.environ.get("CI") else "dev")
    if hasattr(config, "workerinput"):
        return
    private = tempfile.mkdtemp(prefix="segpipe-tests-")
    config.add_cleanup(lambda: shutil.rmtree(private, ignore_errors=True))
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(
        PREFECT_HOME=f"{private}/prefect",
        NUMBA_CACHE_DIR=f"{private}/numba",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )


@pytest.fixture(scope="session")
def demo_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset in small, 12 images of 64 x 128: truth.zarr, model_a.zarr, model_b.zarr. Read only."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    write_demo(folder, SMALL)
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts commands in processes of their own, in no time."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real label maps, which lie beside the repository and are not part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real label maps (../shared/data) are not on this machine")
    return SHARED_DATA
