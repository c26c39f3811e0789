"""The command as a process of its own: quick help, no traceback, and a stop in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.warm import COMMAND, Warm

REPOSITORY = Path(__file__).resolve().parent.parent.parent
IMAGES = 150
HEAVY = (
    "dask",
    "distributed",
    "numba",
    "numpy",
    "pandas",
    "prefect",
    "pyarrow",
    "pydantic",
    "rich",
    "xarray",
    "yaml",
    "zarr",
)


def test_help_loads_nothing_heavy() -> None:
    """It answers at once: click and plain data are all that is loaded."""
    script = (
        "import sys; from segpipe.cli import commands\n"
        "commands.main(['--help'], standalone_mode=False)\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(("words", "code"), [(["evaluate", "nosuch.yaml"], 1), (["plan", "--classes"], 1)])
def test_a_mistake_shows_no_traceback(words: list[str], code: int, warm: Warm) -> None:
    """One message on the error stream, nothing on the output."""
    done = warm.run(COMMAND, words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_leaves_early_is_no_error(more: list[str], demo_small: Path, warm: Warm) -> None:
    """`segpipe plan ... | head -1` ends in silence."""
    truth, pred = (f"{demo_small}/{name}.zarr::labels" for name in ("truth", "model_a"))
    reader, writer = os.pipe()
    os.close(reader)
    words = ["plan", "--truth", truth, "--pred", pred, "--classes", "19", *more]
    done = warm.run(COMMAND, words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for 150 images in 150 buckets: long enough to be stopped in the middle."""
    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(7).integers(0, 19, (IMAGES, 256, 256), np.uint8)
    for name in ("truth", "pred"):
        store = zarr.create_group(folder / f"{name}.zarr")
        store.create_array("labels", data=noise, chunks=(1, 256, 256), fill_value=255)
    words = [
        "--truth",
        f"{folder}/truth.zarr::labels",
        "--pred",
        f"{folder}/pred.zarr::labels",
        "--classes",
        "19",
    ]
    return [*words, "--set", "bucket_images=1", "--set", "cluster={kind: threads, threads: 1}"]


def partials(results: Path) -> int:
    """How many partial counts there are."""
    return sum(1 for _ in results.glob("partials/*/[0-9a-f]*"))


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_stop_while_libraries_are_loaded_is_told_without_them(more: str) -> None:
    """What was half loaded then cannot be loaded again; the exit code and the words need none of it."""
    script = (
        "import os, signal, sys\n"
        "from segpipe.cli import guarded\n"
        "def work():\n"
        f"    sys.modules.update(dict.fromkeys({HEAVY}))\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.exit(guarded(work, as_json={bool(more)}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted: what was counted is kept")
    assert "Traceback" not in done.stderr
    assert (json.loads(done.stdout)["error"]["exit_code"] if more else done.stdout) == (130 if more else "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_evaluation_keeps_its_counts(
    number: int, many: list[str], tmp_path: Path, warm: Warm
) -> None:
    """130, words, and the same command goes on where it was stopped."""
    words = ["evaluate", *many, "--results", str(tmp_path)]
    process = warm.start(COMMAND, words)
    while partials(tmp_path) < 5 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    process.wait()
    kept = partials(tmp_path)
    assert (process.returncode, process.stdout) == (130, "")
    assert "interrupted: what was counted is kept, and the same command goes on from there" in process.stderr
    assert "Traceback" not in process.stderr
    assert 5 <= kept < IMAGES
    (state,) = tmp_path.glob("*/*/runs/0*/run.json")
    assert json.loads(state.read_text())["state"] == "interrupted"

    again = warm.run(COMMAND, words)
    assert again.returncode == 0
    assert f", {kept} from earlier counts" in again.stderr
    assert "mean_iou                   1.0000" in again.stdout


def test_an_evaluation_on_threads_loads_neither_dask_nor_pandas(demo_small: Path, tmp_path: Path) -> None:
    """Each takes a third of a second, and a short evaluation needs neither."""
    truth, pred = (f"{demo_small}/{name}.zarr::labels" for name in ("truth", "model_a"))
    words = ["evaluate", "--truth", truth, "--pred", pred, "--classes", "19", "--results", str(tmp_path)]
    script = (
        "import sys; from segpipe.cli import commands\n"
        f"commands.main({[*words, '--set', 'cluster=threads', '--ignore', '255']}, standalone_mode=False)\n"
        "print(sorted({'dask', 'distributed', 'pandas', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
