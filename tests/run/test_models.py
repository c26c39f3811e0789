"""Several predictions against one truth: truth is read once, and each model has a run of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import segpipe
from segpipe.errors import ConfigError, IncompleteError
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.sources.checked import ExpectedObjects
from tests.run.datasets import (
    extended_matrix,
    figures,
    image_ids,
    label_maps,
    pair_config,
    write_pair,
    write_stacked,
)

ALSO = ("b", "c")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """truth.zarr, pred.zarr and two more predictions, chunked in other ways."""
    write_pair(tmp_path)
    for seed, (name, images) in enumerate(zip(ALSO, (3, 12), strict=True), start=5):
        _, pred = label_maps(40, seed)
        write_stacked(tmp_path / f"{name}.zarr", pred, chunks=(images, 24, 16), ids=image_ids(40))
    return tmp_path


def also(folder: Path, *names: str) -> dict[str, str]:
    """The setting."""
    return {name: f"{folder}/{name}.zarr::labels" for name in names}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each store was read."""
    counted: Counter[str] = Counter()
    get = ExpectedObjects.get

    def watched(self: ExpectedObjects, *given: Any) -> Any:
        counted[Path(self.storage.url).stem] += self.path == "labels"
        return get(self, *given)

    monkeypatch.setattr(ExpectedObjects, "get", watched)
    return counted


def test_truth_is_read_once_for_all_models(models: Path, reads: Counter[str]) -> None:
    evaluate(pair_config(models, results=f"{models}/alone"))
    alone = dict(reads)
    reads.clear()
    runs = evaluate_models(pair_config(models, also=also(models, *ALSO)))
    assert [run.parent.parent.name for run in runs] == ["model", "b", "c"]
    assert (reads["truth"], reads["pred"]) == (alone["truth"], alone["pred"])
    assert reads["b"] > 0
    assert reads["c"] > 0


def test_what_is_counted_anew_is_read_once_for_each_model(models: Path, reads: Counter[str]) -> None:
    """Each model is compared in its own turn, and not counted along with another one before."""
    evaluate_models(pair_config(models, also=also(models, "b")))
    first = dict(reads)
    reads.clear()
    anew: dict[str, Any] = {"results": f"{models}/anew", "cache": {"use": False}}
    evaluate_models(pair_config(models, also=also(models, "b"), **anew))
    assert reads == {**first, "truth": 2 * first["truth"]}


def test_every_model_has_the_figures_that_it_has_alone(models: Path) -> None:
    """In the same bytes, with threads as with one thread."""
    together = evaluate_models(pair_config(models, also=also(models, *ALSO)))
    for run, (model, store) in zip(together, {"model": "pred", "b": "b", "c": "c"}.items(), strict=True):
        pred = f"{models}/{store}.zarr::labels"
        alone = evaluate(pair_config(models, model=model, pred=pred, results=f"{models}/alone"))
        assert figures(run) == figures(alone)


def test_a_model_whose_prediction_is_damaged_does_not_hold_up_the_others(models: Path) -> None:
    """The damaged one is incomplete and says so with its name; the others are published whole."""
    chunk = models / "b.zarr/labels/c/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(IncompleteError) as caught:
        evaluate_models(pair_config(models, also=also(models, *ALSO)))
    assert caught.value.__notes__ == ["model b"]
    assert all(problem.chunk == "c/0/0/0" for problem in caught.value.problems)
    for model in ("model", "c"):
        assert segpipe.open_run(models / f"results/suite/{model}").summary.images.counted == 40


def test_a_model_with_other_images_is_counted_for_itself(models: Path) -> None:
    """Where the buckets are not the same there is nothing to share, and nothing is wrong."""
    store = zarr.open_group(models / "b.zarr")
    ids = store["image"][:]
    store["image"][...] = np.roll(np.asarray(ids, object), 3)
    together = evaluate_models(pair_config(models, also=also(models, "b")))
    alone = evaluate(
        pair_config(models, model="b", pred=f"{models}/b.zarr::labels", results=f"{models}/alone")
    )
    assert figures(together[1]) == figures(alone)


@pytest.mark.parametrize("first", ["stacked", "grouped"])
def test_models_may_be_stored_in_one_array_or_in_several(tmp_path: Path, first: str) -> None:
    """What is read at a time of one is not what is read at a time of the other."""
    truth, pred = (labels.reshape(10, 4, 24, 32) for labels in label_maps(40))
    for name, labels in (("truth", truth), ("stacked", pred)):
        array = zarr.create_array(tmp_path / f"{name}.zarr/labels", data=labels, chunks=(2, 4, 24, 32))
        array.update_attributes({"image_ids": image_ids(10)})
    group = zarr.create_group(tmp_path / "grouped.zarr/labels")
    for name, labels in zip(image_ids(10), pred, strict=True):
        group.create_array(name, data=labels, chunks=(4, 24, 32))
    settings = {"layout": "volume", "max_read_amplification": 9, "missing_chunks": "are_fill_value"}
    models = (first, "grouped" if first == "stacked" else "stacked")
    preds = {name: f"{tmp_path}/{name}.zarr::labels" for name in models}
    given = {"model": models[0], "pred": preds[models[0]], "also": {models[1]: preds[models[1]]}}
    together = evaluate_models(pair_config(tmp_path, **given, **settings))
    for run, model in zip(together, models, strict=True):
        own = {"model": model, "pred": preds[model], "results": f"{tmp_path}/alone"}
        assert figures(run) == figures(evaluate(pair_config(tmp_path, **own, **settings)))
        with xr.open_zarr(run / "results.zarr", consolidated=False) as results:
            np.testing.assert_array_equal(results["confusion"].values, extended_matrix(truth, pred))


def test_python_gets_a_run_for_each_model(models: Path) -> None:
    runs = segpipe.evaluate_models(pair_config(models, also=also(models, *ALSO)))
    assert list(runs) == ["model", "b", "c"]
    assert len({float(run.scores["mean_iou"]) for run in runs.values()}) == 3


def test_a_name_that_is_taken_is_refused(models: Path) -> None:
    with pytest.raises(ConfigError, match="also: 'model' is the model of `pred` already"):
        pair_config(models, also={"model": f"{models}/b.zarr::labels"})
