"""The law of bits: the figures of a run are a function of the label maps and the rules alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from segpipe.run.evaluate import evaluate
from segpipe.sources import storage
from tests.run.datasets import extended_matrix, figures, label_maps, pair_config, write_pair


@pytest.fixture(scope="module")
def one_thread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the pair on one thread."""
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "RACY_S", 0.02)
        return evaluate(pair_config(folder, cluster={"kind": "threads", "threads": 1}))


@pytest.fixture(scope="module")
def reference(one_thread: Path) -> dict[str, bytes]:
    """Its figures."""
    return figures(one_thread)


def test_counts_are_those_of_the_oracle(pair: Path) -> None:
    """The summed matrix equals one that was counted value by value."""
    run = evaluate(pair_config(pair))

    with xr.open_zarr(run / "results.zarr") as results:
        np.testing.assert_array_equal(extended_matrix(*label_maps()), results["confusion"].values)


@pytest.mark.parametrize(
    "settings",
    [
        {"bucket_images": 1},
        {"bucket_images": 5},
        {"bucket_images": 1000},
        {"fingerprint": "content"},
        {"cluster": {"kind": "threads", "threads": 4}},
    ],
    ids=str,
)
def test_figures_are_the_same_bytes(
    pair: Path, reference: dict[str, bytes], settings: dict[str, Any]
) -> None:
    """Bucket size, fingerprints and threads change no byte."""
    assert figures(evaluate(pair_config(pair, **settings))) == reference


def test_resumed_figures_are_the_same_bytes(pair: Path, reference: dict[str, bytes]) -> None:
    """A run that finds half of its partial counts gives the bytes of one that counted all."""
    config = pair_config(pair)
    evaluate(config)
    partials = sorted((pair / "results" / "partials").rglob("[0-9a-f]" * 40))
    for path in partials[::2]:
        path.unlink()

    assert len(partials) > 2
    assert figures(evaluate(config)) == reference


def test_other_folder_same_figures(pair: Path, reference: dict[str, bytes], tmp_path_factory: Any) -> None:
    """A copy of the stores in another place gives the same bytes."""
    other = tmp_path_factory.mktemp("other")
    for name in ("truth.zarr", "pred.zarr"):
        shutil.copytree(pair / name, other / name)

    assert figures(evaluate(pair_config(other))) == reference


def test_figures_and_partial_counts_of_worker_processes_are_the_same_bytes(
    pair: Path, reference: dict[str, bytes]
) -> None:
    """Whoever counts a bucket writes the same bytes under the same key."""
    evaluate(pair_config(pair, results=f"{pair}/threads"))
    run = evaluate(pair_config(pair, cluster={"kind": "local", "workers": 2}))
    stores = []
    for results in ("threads", "results"):
        files = (pair / results / "partials").rglob("*")
        stores.append({path.name: path.read_bytes() for path in files if path.is_file()})

    assert len(stores[0]) == 4
    assert stores[0] == stores[1]
    assert figures(run) == reference
