"""Whatever label maps are stored as, the figures are those of the label maps, byte for byte."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from segpipe.counts.counting import BucketPart, count_task
from segpipe.errors import ConfigError, InputError
from segpipe.planning.memory import task_memory
from segpipe.run.evaluate import evaluate
from segpipe.run.stages import make_plan, start
from segpipe.run.stages import plan as stages_plan
from segpipe.sources import representations
from tests.run import datasets
from tests.run.datasets import CLASSES, image_ids, label_maps, pair_config, write_stacked

IMAGES = 12
K = len(CLASSES)
OWN = ("representation", "class_axis", "threshold", "remap")


def figures(run: Path) -> dict[str, bytes]:
    """All figures; not the reports, which also name what is stored and say what it costs."""
    return {
        name: data for name, data in datasets.figures(run).items() if name not in ("report.md", "report.html")
    }


def one_hot(labels: NDArray[Any], hot: Any = 1) -> NDArray[Any]:
    """(image, class, y, x), all 0 where the label is no class."""
    channels = np.arange(K).reshape(1, K, 1, 1)
    return np.where(labels[:, np.newaxis] == channels, hot, 0)


def logits_of(labels: NDArray[Any]) -> NDArray[np.float64]:
    """(image, class, y, x) whose argmax they are; every second pixel is decided by a tie."""
    scores = np.random.default_rng(5).integers(-8, 0, (len(labels), K, *labels.shape[1:])).astype(float)
    scores[one_hot(labels) == 1] = 0.5
    later = (np.arange(K).reshape(1, K, 1, 1) > labels[:, np.newaxis]) & (np.arange(32) % 2 == 0)
    scores[later] = 0.5
    return scores


def write_channels(folder: Path, values: NDArray[Any], chunks: tuple[int, ...], names: Any = None) -> None:
    """An array `labels` of any dimensions, with ids beside it."""
    group = zarr.create_group(folder)
    options: dict[str, Any] = {"config": {"write_empty_chunks": True}, "dimension_names": names}
    array = group.create_array("labels", shape=values.shape, dtype=values.dtype, chunks=chunks, **options)
    array[...] = values
    ids = group.create_array("image", shape=(IMAGES,), dtype=str, dimension_names=("image",))
    ids[...] = np.array(image_ids(IMAGES), dtype=object)


@pytest.fixture(scope="module")
def maps() -> tuple[Any, Any]:
    """Truth and prediction, labels."""
    return label_maps(IMAGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, maps: tuple[Any, Any]) -> Path:
    """truth.zarr and pred.zarr, which hold labels."""
    path = tmp_path_factory.mktemp("labels")
    for name, labels in zip(("truth", "pred"), maps, strict=True):
        write_stacked(path / f"{name}.zarr", labels, ids=image_ids(IMAGES))
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> dict[str, bytes]:
    """The figures of the labels themselves."""
    return figures(evaluate(pair_config(folder)))


def config_of(folder: Path, tmp_path: Path, side: str = "pred", **settings: Any) -> Any:
    """The configuration in which one side is what a test wrote."""
    stored = {"store": f"{tmp_path}/{side}.zarr", "array": "labels"}
    own = {name: settings.pop(name) for name in list(settings) if name in OWN}
    return pair_config(folder, **{side: {**stored, **own}}, results=f"{tmp_path}/results", **settings)


@pytest.mark.parametrize(
    ("dtype", "axis", "chunks", "declared"),
    [
        ("f2", 1, (4, K, 24, 32), {"class_axis": 1}),
        ("f4", 3, (5, 12, 20, K), {"class_axis": -1}),
        ("f8", 1, (3, 2, 10, 32), {}),
        (">f2", 2, (4, 24, 3, 16), {}),
        ("f4", 0, (K, 4, 24, 32), {"class_axis": "scores"}),
    ],
)
def test_logits_give_the_figures_of_their_argmax(
    tmp_path: Path, folder: Path, maps: Any, reference: Any, dtype: str, axis: int, chunks: Any, declared: Any
) -> None:
    """Classes on any axis, in any dtype, in chunks that cut the classes too."""
    values = np.moveaxis(logits_of(maps[1]), 1, axis).astype(dtype)
    names = ["image", "y", "x"]
    names.insert(axis, "class" if not declared else "scores" if declared["class_axis"] == "scores" else None)
    write_channels(tmp_path / "pred.zarr", values, chunks, names)

    config = config_of(folder, tmp_path, representation="logits", **declared)
    assert figures(evaluate(config)) == reference


@pytest.mark.parametrize(
    "cluster", [{"kind": "threads", "threads": 1}, {"kind": "local", "workers": 2}], ids=str
)
def test_probabilities_in_small_parts_on_any_cluster(
    tmp_path: Path, folder: Path, maps: Any, reference: Any, monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    """Parts of a few rows of chunks, on threads and on Dask workers, change no byte."""
    monkeypatch.setattr(representations, "PART_BYTES", 5000)
    exact = np.exp2(logits_of(maps[1]) - 0.5).astype("f4")
    write_channels(tmp_path / "pred.zarr", exact, (5, K, 7, 9), ("image", "channel", "y", "x"))

    config = config_of(folder, tmp_path, representation="probabilities", cluster=cluster)
    assert figures(evaluate(config)) == reference


@pytest.mark.parametrize(("dtype", "hot"), [("u1", 255), ("i4", 1), ("?", True)])
def test_one_hot_truth_of_which_ignored_pixels_have_no_channel(
    tmp_path: Path, folder: Path, maps: Any, reference: Any, dtype: str, hot: Any
) -> None:
    """All zero is ignored in truth."""
    values = one_hot(maps[0], hot).astype(dtype)
    write_channels(tmp_path / "truth.zarr", values, (4, 2, 24, 32), ("image", "c", "y", "x"))

    assert figures(evaluate(config_of(folder, tmp_path, "truth", representation="one_hot"))) == reference


def test_one_hot_predictions_without_a_channel_are_void(tmp_path: Path, folder: Path, maps: Any) -> None:
    """All zero is no class, and counts as what the label -1 would as a void label."""
    labels = maps[1].astype("i2")
    labels[:, 5] = -1
    write_stacked(tmp_path / "plain.zarr", labels, ids=image_ids(IMAGES))
    plain = pair_config(
        folder, pred=f"{tmp_path}/plain.zarr::labels", void_labels=[-1], results=f"{tmp_path}/a"
    )
    write_channels(tmp_path / "pred.zarr", one_hot(labels).astype("u1"), (4, K, 24, 32))
    hot = config_of(folder, tmp_path, representation="one_hot", class_axis=1)

    assert figures(evaluate(hot)) == figures(evaluate(plain))


def test_a_class_axis_of_size_1_is_dropped(tmp_path: Path, folder: Path, maps: Any, reference: Any) -> None:
    """By its name, or because it is declared."""
    for name, declared in (("channel", {}), (None, {"class_axis": -1})):
        write_channels(
            tmp_path / str(name) / "pred.zarr",
            maps[1][..., np.newaxis],
            (4, 24, 32, 1),
            ("image", "y", "x", name),
        )
        assert figures(evaluate(config_of(folder, tmp_path / str(name), **declared))) == reference


def test_channels_are_remapped_to_classes(tmp_path: Path, folder: Path, maps: Any, reference: Any) -> None:
    """The side's own remap says which channel is which class; others may be no class."""
    values = np.full((IMAGES, K + 1, 24, 32), -9.0, "f4")
    values[:, K:0:-1] = logits_of(maps[1])
    strict = np.argmax(logits_of(maps[1]), axis=1)[:, np.newaxis] == np.arange(K).reshape(1, K, 1, 1)
    values[:, K:0:-1] += strict
    write_channels(tmp_path / "pred.zarr", values, (4, K + 1, 24, 32), ("image", "class", "y", "x"))
    remap = {K - place: name for place, name in enumerate(CLASSES)}

    with pytest.raises(
        InputError, match=r"found 6 channels, axis 1 of \(12, 6, 24, 32\), expected those of the remap"
    ):
        evaluate(config_of(folder, tmp_path, representation="logits", remap=remap))
    config = config_of(folder, tmp_path, representation="logits", remap=remap, void_labels=[0])
    assert figures(evaluate(config)) == reference


@pytest.mark.parametrize("dtype", ["f2", "f4", "u1"])
def test_binary_scores_reach_the_threshold(tmp_path: Path, dtype: str) -> None:
    """p >= t is class 1."""
    rng = np.random.default_rng(3)
    top = 255 if dtype == "u1" else 1
    threshold = 128 if dtype == "u1" else 0.7
    scores = (rng.integers(0, 11, (IMAGES, 24, 32)) / 10 * top).astype(dtype)
    positive = (scores >= np.array(threshold, dtype)).astype("u1")
    truth = rng.integers(0, 2, scores.shape).astype("u1")
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "plain.zarr", positive)
    write_stacked(tmp_path / "pred.zarr", scores)
    settings: dict[str, Any] = {"classes": ["no", "yes"], "ignore_labels": []}
    plain = pair_config(tmp_path, pred=f"{tmp_path}/plain.zarr::labels", **settings)
    config = config_of(tmp_path, tmp_path, representation="binary", threshold=threshold, **settings)

    assert figures(evaluate(config)) == figures(evaluate(plain))


class TestTold:
    """What is wrong is told in the words of the representation."""

    def test_nan_in_a_channel(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        values = logits_of(maps[1]).astype("f4")
        values[3, 2, 7, 9] = np.nan
        write_channels(tmp_path / "pred.zarr", values, (4, K, 24, 32), ("image", "class", "y", "x"))
        words = (
            r"NaN in a channel in 1 pixels, first at \(y, x\) = \(7, 9\), expected a number in every channel"
        )
        with pytest.raises(InputError, match=words) as found:
            evaluate(config_of(folder, tmp_path, representation="logits"))
        assert "img_003" in str(found.value)
        assert "invalid_pred: count_as_miss" in str(found.value)
        evaluate(config_of(folder, tmp_path, representation="logits", invalid_pred="count_as_miss"))

    def test_two_hot_channels(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        values = one_hot(maps[1]).astype("u1")
        values[:, :, 4, 5] = 1
        write_channels(tmp_path / "pred.zarr", values, (4, K, 24, 32), ("image", "class", "y", "x"))
        with pytest.raises(InputError, match="two or more hot channels in 1 pixels") as found:
            evaluate(config_of(folder, tmp_path, representation="one_hot"))
        assert all(name in str(found.value) for name in image_ids(IMAGES)[:5])

    def test_logits_that_are_called_probabilities(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        values = logits_of(maps[1]).astype("f4") * 4
        write_channels(tmp_path / "pred.zarr", values, (4, K, 24, 32), ("image", "class", "y", "x"))
        with pytest.raises(InputError, match=r"a largest value outside of \[0, 1\] in 768 pixels"):
            evaluate(config_of(folder, tmp_path, representation="probabilities"))

    def test_floats_of_which_nothing_is_declared(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        write_stacked(tmp_path / "pred.zarr", maps[1].astype("f4"), ids=image_ids(IMAGES))
        with pytest.raises(InputError, match=r"(?s)found float32, .*representation: logits.*threshold: 0.5"):
            evaluate(config_of(folder, tmp_path))

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            (
                {},
                r"an array of shape \(12, 5, 24, 32\), names of its dimensions: none, expected a dim",
            ),
            ({"class_axis": 4}, r"class_axis: 4, in an array of shape \(12, 5, 24, 32\)"),
            ({"class_axis": "k"}, "class_axis: k, .*expected the number or the name of a dimension"),
            ({"class_axis": 2}, r"24 channels, axis 2 of \(12, 5, 24, 32\), expected 5, one for each class"),
            ({"class_axis": 1, "representation": "labels"}, "5 channels along the class axis, expected 1"),
            (
                {"class_axis": 1, "representation": "one_hot"},
                "found float32 for representation: one_hot, expected an",
            ),
            (
                {"class_axis": 1, "representation": "logit"},
                "no representation 'logit'; .*did you mean logits",
            ),
        ],
    )
    def test_declarations_that_do_not_fit(
        self, tmp_path: Path, folder: Path, maps: Any, settings: Any, words: str
    ) -> None:
        write_channels(tmp_path / "pred.zarr", logits_of(maps[1]).astype("f4"), (4, K, 24, 32))
        with pytest.raises((InputError, ConfigError), match=words):
            evaluate(config_of(folder, tmp_path, **{"representation": "logits", **settings}))

    def test_two_dimensions_that_could_be_classes(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        values = logits_of(maps[1]).astype("f4")[..., np.newaxis]
        names = ("image", "class", "y", "x", "band")
        write_channels(tmp_path / "pred.zarr", values, (4, K, 24, 32, 1), names)
        with pytest.raises(InputError, match="found the dimensions class and band, expected one of classes"):
            evaluate(config_of(folder, tmp_path, representation="logits"))

    def test_a_chunk_of_scores_that_was_never_written(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        """The chunk of one class is enough: its pixels are told, and counted as the setting says."""
        write_channels(
            tmp_path / "pred.zarr",
            logits_of(maps[1]).astype("f4"),
            (4, 3, 24, 32),
            ("image", "class", "y", "x"),
        )
        (tmp_path / "pred.zarr" / "labels" / "c" / "1" / "1" / "0" / "0").unlink()
        with pytest.raises(
            InputError, match=r"1 of 6 chunks absent, to be read as the fill value 0.0 \(class road"
        ):
            evaluate(config_of(folder, tmp_path, representation="logits"))
        run = evaluate(config_of(folder, tmp_path, representation="logits", missing_chunks="skip"))
        scores = json.loads((run / "scores.json").read_text())
        assert scores["coverage"] == pytest.approx(8 / 12)

    def test_a_damaged_chunk_of_one_class(self, tmp_path: Path, folder: Path, maps: Any) -> None:
        """Its images are quarantined, the others are counted."""
        write_channels(
            tmp_path / "pred.zarr",
            logits_of(maps[1]).astype("f4"),
            (4, 3, 24, 32),
            ("image", "class", "y", "x"),
        )
        chunk = tmp_path / "pred.zarr" / "labels" / "c" / "1" / "1" / "0" / "0"
        chunk.write_bytes(chunk.read_bytes()[:50])
        run = evaluate(config_of(folder, tmp_path, representation="logits", max_quarantined=4))
        scores = json.loads((run / "scores.json").read_text())
        assert scores["coverage"] == pytest.approx(8 / 12)


class TestCountedAnew:
    """What decides the label maps is part of the key of their counts."""

    def test_another_threshold_is_another_key(self, tmp_path: Path) -> None:
        scores = np.random.default_rng(1).random((IMAGES, 24, 32)).astype("f4")
        write_stacked(tmp_path / "truth.zarr", (scores > 0.5).astype("u1"))
        write_stacked(tmp_path / "pred.zarr", scores)
        settings: dict[str, Any] = {"classes": 2, "ignore_labels": [], "representation": "binary"}
        keys = [
            {
                bucket.key
                for bucket in make_plan(config_of(tmp_path, tmp_path, threshold=t, **settings)).buckets()
            }
            for t in (0.5, 0.5, 0.75)
        ]
        assert keys[0] == keys[1]
        assert not keys[0] & keys[2]

    def test_so_is_another_representation_or_axis(self, tmp_path: Path, folder: Path) -> None:
        values = np.full((IMAGES, K, K, K), 0.25, "f4")
        write_channels(tmp_path / "pred.zarr", values, (4, K, K, K))
        write_stacked(tmp_path / "truth.zarr", np.zeros((IMAGES, K, K), "u1"), ids=image_ids(IMAGES))
        keys = [
            bucket.key
            for kind, axis in (("logits", 1), ("probabilities", 1), ("logits", 3))
            for bucket in make_plan(
                config_of(tmp_path, tmp_path, representation=kind, class_axis=axis)
            ).buckets()
        ]
        assert len(set(keys)) == len(keys)


def test_the_plan_says_what_scores_cost(tmp_path: Path, folder: Path, maps: Any) -> None:
    """Many times the bytes of label maps."""
    write_channels(tmp_path / "pred.zarr", logits_of(maps[1]).astype("f4"), (4, K, 24, 32))
    config = config_of(folder, tmp_path, representation="logits", class_axis=1)
    run = evaluate(config)
    text = (run / "report.md").read_text()
    assert "float32 logits, 20 bytes a pixel: 20 times as many as a label map" in text


def test_grouped_logits_of_different_sizes(tmp_path: Path) -> None:
    """One array (class, y, x) for each image."""
    rng = np.random.default_rng(2)
    truth, pred = zarr.create_group(tmp_path / "truth.zarr"), zarr.create_group(tmp_path / "pred.zarr")
    plain = zarr.create_group(tmp_path / "plain.zarr")
    for index in range(6):
        labels = rng.integers(0, K, (1, 20 + index, 32)).astype("u1")
        options: dict[str, Any] = {"config": {"write_empty_chunks": True}}
        truth.create_array(f"a{index}", data=labels[0], **options)
        scores = logits_of(labels)[0].astype("f2")
        plain.create_array(f"a{index}", data=np.argmax(scores, axis=0).astype("u1"), **options)
        pred.create_array(f"a{index}", data=scores, dimension_names=("classes", "y", "x"), **options)
    stores = {side: f"{tmp_path}/{side}.zarr" for side in ("truth", "pred", "plain")}
    common: dict[str, Any] = {"truth": stores["truth"], "layout": "grouped"}
    logits = pair_config(tmp_path, **common, pred={"store": stores["pred"], "representation": "logits"})
    labels_config = pair_config(tmp_path, **common, pred=stores["plain"], results=f"{tmp_path}/other")

    assert figures(evaluate(logits)) == figures(evaluate(labels_config))


def test_logits_of_a_large_image_are_never_held_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task stays within what the plan projects, and far below the 20 MB of one image."""
    monkeypatch.setattr(representations, "PART_BYTES", 1 << 20)
    shape = (1, 150, 128, 256)
    values = np.zeros(shape, "f4")
    values[:, 7] = 1
    write_stacked(tmp_path / "truth.zarr", np.full((1, *shape[2:]), 7, "u1"), chunks=(1, *shape[2:]))
    group = zarr.create_group(tmp_path / "pred.zarr")
    array = group.create_array("labels", shape=shape, dtype="f4", chunks=(1, 150, 32, 32))
    array[...] = values
    del values
    settings: dict[str, Any] = {"classes": 150, "representation": "logits", "class_axis": 1}
    config = config_of(tmp_path, tmp_path, **settings)
    plan = make_plan(config)
    run = start(config)
    stages_plan(run)
    count_task(str(run), [BucketPart(0)])  # What is loaded and compiled once is not what is measured.

    tracemalloc.start()
    (counted,) = count_task(str(run), [BucketPart(0)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted.pixels == 128 * 256
    assert peak < task_memory(plan.inventory, plan.cut)
    assert peak < 6 << 20
