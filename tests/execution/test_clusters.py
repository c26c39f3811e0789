"""Clusters: what they run on, what a lost worker or scheduler does, and what wrong options say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dask
import distributed  # noqa: F401  # its defaults must be there before a test changes a setting
import numpy as np
import pytest
import xarray as xr

from segpipe.config import ClusterConfig
from segpipe.errors import ConfigError, IncompleteError, InfrastructureError
from segpipe.execution.choose import choose_cluster
from segpipe.execution.clusters import cluster_options
from segpipe.run.evaluate import evaluate
from tests.run.datasets import extended_matrix, image_ids, label_maps, pair_config, write_stacked

KILLER = """
import os, signal
from segpipe.counts import counting

# Dask loads a preload twice; the second time the name is taken already.
count_images = globals().get("count_images", counting.count_images)

def deadly(truth, pred, *rules):
    if (pred.values == 251).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return count_images(truth, pred, *rules)

counting.count_images = deadly
"""


def test_auto_starts_processes_only_for_long_work() -> None:
    """Short work runs on threads of this process, long work on worker processes."""
    auto = ClusterConfig()

    assert choose_cluster(auto, seconds=1).words().startswith("threads in this process")
    assert choose_cluster(auto, seconds=600).words().startswith("Dask on this machine")


def test_unknown_kind_and_option_are_told() -> None:
    """The message names what is known."""
    with pytest.raises(ConfigError, match=r"no cluster 'thread'; known: .*threads.*did you mean threads"):
        cluster_options(ClusterConfig(kind="thread"))
    with pytest.raises(ConfigError) as told:
        cluster_options(ClusterConfig.model_validate({"kind": "local", "wokers": 2, "memory_limit": 0}))
    assert str(told.value).splitlines() == [
        "cluster (local).memory_limit: input should be greater than or equal to 1 (found 0)",
        "cluster (local).wokers: no such key; did you mean workers?",
    ]
    with pytest.raises(ConfigError, match="is no amount of memory such as '2 GiB'"):
        cluster_options(ClusterConfig.model_validate({"kind": "local", "memory_limit": "much"}))


def test_image_that_kills_its_worker_is_found_and_all_others_counted(tmp_path: Path) -> None:
    """The task is cut in two until one image is left; it is quarantined, exit 3, the rest is right."""
    truth, pred = label_maps(6)
    pred[3, 3, 3] = 251
    for name, labels in (("truth", truth), ("pred", pred)):
        write_stacked(tmp_path / f"{name}.zarr", labels, ids=image_ids(6), chunks=(2, 24, 32))
    (tmp_path / "killer.py").write_text(KILLER)
    config = pair_config(
        tmp_path, cluster={"kind": "local", "workers": 1}, invalid_pred="count_as_miss", bucket_images=2
    )
    with (
        dask.config.set({"distributed.worker.preload": [str(tmp_path / "killer.py")]}),
        pytest.raises(IncompleteError, match="counting this image killed its worker") as caught,
    ):
        evaluate(config)

    assert [problem.image for problem in caught.value.problems] == [image_ids(6)[3]]
    kept = np.r_[0:3, 4:6]
    run = max((tmp_path / "results" / "suite" / "model" / "runs").glob("0*"))
    with xr.open_zarr(run / "results.zarr") as results:
        np.testing.assert_array_equal(extended_matrix(truth[kept], pred[kept]), results["confusion"].values)


def test_no_scheduler_there_is_an_infrastructure_error(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4 and words within the time limit."""
    monkeypatch.setattr("segpipe.execution.clusters.address.CONNECT_S", 1)
    config = pair_config(pair, cluster={"kind": "address", "address": "tcp://127.0.0.1:9"})
    with pytest.raises(
        InfrastructureError, match=r"scheduler at tcp://127.0.0.1:9 does not answer"
    ) as caught:
        evaluate(config)
    assert caught.value.exit_code == 4


def test_script_without_main_guard_is_told(pair: Path) -> None:
    """Worker processes load the script again: they make no runs, and the message says what to change."""
    config = pair_config(pair, cluster={"kind": "local", "workers": 1})
    (pair / "config.yaml").write_text(config.to_yaml())
    script = pair / "script.py"
    script.write_text(f"import segpipe\nsegpipe.evaluate({str(pair / 'config.yaml')!r})\n")
    here = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, **here}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "must do so under `if __name__ == '__main__':`" in done.stderr
    assert len(list((pair / "results" / "suite" / "model" / "runs").glob("0*"))) == 1
