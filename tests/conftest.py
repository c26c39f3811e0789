"""What all tests share: their environment, hypothesis profiles, a small demo dataset, real label maps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from segpipe.writing.demo import Dataset, write_demo
from tests.thorough import THOROUGH
from tests.warm import Warm

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
SMALL = Dataset(images=12, height=64, width=128)

SLOW_FIRST = (
    "tests/flows",
    "tests/execution",
    "tests/run",
    "tests/kernels",
    "tests/cli",
    "tests/test_readme",
)
"""What takes long is begun first, so that no processor idles while another works on the last file."""

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)


def pytest_configure(config: pytest.Config) -> None:
    """One private folder per session: kernels are compiled once, Prefect keeps to it, nothing phones home."""
    settings.load_profile("thorough" if THOROUGH else "ci" if os.environ.get("CI") else "dev")
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first; the order is otherwise as it was."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each file goes to one worker, in the order above; all tests of flows to the same one.

    They share a Prefect server, which takes as long to start as all of them together.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/flows" if nodeid.startswith("tests/flows/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log) if config.option.dist == "loadfile" else None


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
