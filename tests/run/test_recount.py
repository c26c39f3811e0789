"""What is counted again after a change, and what is not: told from the chunks that are read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from segpipe.config import EvaluationConfig
from segpipe.counts.partials import Partial, StatisticPartial
from segpipe.errors import WrongCountsError
from segpipe.planning.plan import make_plan
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from segpipe.run.record import partials_of, read_json
from segpipe.statistics.base import STATISTICS
from tests.run.datasets import CLASSES, figures, image_ids, label_maps, pair_config, write_stacked


def counted(config: EvaluationConfig) -> int:
    """Buckets that an evaluation counts, up to where it has done so."""
    run = stages.start(config)
    stages.plan(run)
    return stages.count(run).counted


def test_unchanged_store_is_not_read(pair: Path, reads: list[str]) -> None:
    """A second evaluation of the same stores reads no chunk of label maps."""
    assert counted(pair_config(pair)) == 4
    assert len(set(reads)) == 10 + 7 * 2
    reads.clear()

    assert counted(pair_config(pair)) == 0
    assert reads == []


def test_every_chunk_is_read_once(pair: Path, reads: list[str]) -> None:
    """No chunk is read twice, though truth and pred are chunked differently."""
    counted(pair_config(pair))

    assert len(reads) == len(set(reads))


@pytest.mark.parametrize(
    "settings",
    [
        {"classes": ["street", *CLASSES[1:]]},
        {"exclude_classes": ["sky"]},
        {"invalid_pred": "count_as_miss"},
        {"invalid_truth": "ignore"},
        {"missing_chunks": "skip"},
        {"missing_chunks": "are_fill_value"},
        {"on_missing_pred": "count_as_void"},
        {"on_extra_pred": "ignore"},
        {"absent_class": "one"},
        {"present": "truth"},
        {"max_quarantined": 3},
        {"model": "another"},
        {"suite": "another"},
        {"cluster": {"kind": "local", "workers": 1}},
    ],
    ids=str,
)
def test_what_decides_no_count_recounts_nothing(
    pair: Path, reads: list[str], settings: dict[str, Any]
) -> None:
    """Class names, policies, names of suite and model, and the cluster are no part of a key."""
    counted(pair_config(pair))
    reads.clear()

    assert counted(pair_config(pair, **settings)) == 0
    assert reads == []


@pytest.mark.parametrize(
    "settings",
    [
        {"ignore_labels": [255, 4]},
        {"void_labels": [3]},
        {"remap": {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}},
        {"classes": [*CLASSES, "lamp"]},
    ],
    ids=str,
)
def test_what_decides_counts_recounts_all(pair: Path, settings: dict[str, Any]) -> None:
    """Another table from raw values to codes makes every count another one."""
    counted(pair_config(pair))

    assert counted(pair_config(pair, **settings)) == 4


def test_appended_images_count_themselves(tmp_path: Path, reads: list[str]) -> None:
    """Appending whole buckets reads the new chunks and nothing else."""
    truth, pred = label_maps(72)
    for images in (48, 72):
        for name, labels, chunk in (("truth", truth, 4), ("pred", pred, 6)):
            if images == 48:
                write_stacked(
                    tmp_path / f"{name}.zarr", labels[:48], chunks=(chunk, 24, 32), ids=image_ids(48)
                )
            else:
                group = zarr.open_group(tmp_path / f"{name}.zarr")
                for array, values in (("labels", labels), ("image", np.array(image_ids(72), object))):
                    group[array].resize((72, *group[array].shape[1:]))
                    group[array][48:] = values[48:]
        reads.clear()
        counted(pair_config(tmp_path, bucket_images=12))
    assert sorted(set(reads)) == sorted(
        [f"truth.zarr/labels/c/{row}/0/0" for row in range(12, 18)]
        + [f"pred.zarr/labels/c/{row}/0/0" for row in range(8, 12)]
    )


def test_one_changed_chunk_recounts_its_bucket(pair: Path, reads: list[str]) -> None:
    """Rewriting one chunk reads again the chunks of its bucket, and no other."""
    counted(pair_config(pair))
    labels = zarr.open_group(pair / "pred.zarr")["labels"]
    labels[18:24, :12] = 1
    reads.clear()

    assert counted(pair_config(pair)) == 1
    assert sorted(set(reads)) == sorted(
        [f"truth.zarr/labels/c/{row}/0/0" for row in (3, 4, 5)]
        + [f"pred.zarr/labels/c/{row}/{part}/0" for row in (2, 3) for part in (0, 1)]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"fill_value": 1},
        {"compressors": zarr.codecs.GzipCodec(level=1)},
        {"chunks": (6, 24, 32)},
        {"shards": (12, 24, 32), "chunks": (6, 24, 32)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_encoding_recounts_that_side(pair: Path, change: dict[str, Any]) -> None:
    """Fill value, codec, chunks and shards decide decoding: all is counted again, to the same figures."""
    first = evaluate(pair_config(pair))
    shutil.rmtree(pair / "pred.zarr")
    options = {"chunks": (6, 12, 32), **change}
    write_stacked(pair / "pred.zarr", label_maps()[1], ids=image_ids(40), **options)

    second = evaluate(pair_config(pair))
    assert read_json(second / "counted.json")["counted"] == 4
    assert (first / "scores.json").read_bytes() == (second / "scores.json").read_bytes()


def test_changed_fill_value_in_metadata_recounts(pair: Path) -> None:
    """The fill value is part of the key even where every chunk is written."""
    counted(pair_config(pair))
    document = pair / "truth.zarr" / "labels" / "zarr.json"
    document.write_text(document.read_text().replace('"fill_value": 0', '"fill_value": 7'))

    assert counted(pair_config(pair)) == 4


def test_damaged_partial_is_counted_again(pair: Path, reads: list[str]) -> None:
    """A partial with a flipped bit, cut short or empty counts as absent; the figures stay the same."""
    first = evaluate(pair_config(pair))
    flipped, cut, emptied, _ = sorted((pair / "results" / "partials").rglob("[0-9a-f]" * 40))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-7])
    emptied.write_bytes(b"")
    reads.clear()

    second = evaluate(pair_config(pair))
    assert reads
    assert (first / "scores.json").read_bytes() == (second / "scores.json").read_bytes()
    assert read_json(second / "reduced.json")["recounted"] == 3


def test_content_fingerprints_let_copies_hit(pair: Path, reads: list[str], tmp_path_factory: Any) -> None:
    """With `fingerprint: content` a copied store needs no counting, though inodes and times differ."""
    results = f"{pair}/results"
    counted(pair_config(pair, fingerprint="content"))
    other = tmp_path_factory.mktemp("copy")
    for name in ("truth.zarr", "pred.zarr"):
        shutil.copytree(pair / name, other / name)

    assert counted(pair_config(other, fingerprint="content", results=results)) == 0


def test_a_plan_that_is_made_again_in_one_process_is_the_one_that_is_counted(pair: Path) -> None:
    """Nothing of the first plan is remembered, though the run's folder is the same."""
    run = stages.start(pair_config(pair))
    stages.plan(run)
    stages.count(run)
    pred = zarr.open_group(pair / "pred.zarr")["labels"]
    pred[...] = np.roll(pred[...], 1, axis=0)
    stages.plan(run)
    assert stages.count(run).counted == 4
    stages.reduce(run)
    assert read_json(run / "reduced.json")["recounted"] == 0


# ---- counting anew what is there


def spoil(config: EvaluationConfig) -> Path:
    """Give one image of the first partial that there is the counts of another, as a bad memory might."""
    store = partials_of(config)
    path = sorted(store.folder.glob("??/*"))[0]
    partial = store.read(path.name)
    assert partial is not None
    swapped = partial.counts.take([1, *range(1, len(partial.ids))])
    store.write(path.name, Partial(partial.ids, swapped))
    return path


def test_without_the_cache_every_chunk_is_read_again(pair: Path, reads: list[str]) -> None:
    """As at the first time; the same bytes are kept."""
    assert counted(pair_config(pair)) == 4
    first, kept = sorted(reads), partial_bytes(pair)
    reads.clear()

    assert counted(pair_config(pair, cache={"use": False})) == 4
    assert sorted(reads) == first
    assert partial_bytes(pair) == kept


def partial_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "results/partials").glob("??/*")}


def test_without_the_cache_wrong_counts_are_replaced_and_it_is_told(pair: Path) -> None:
    """The figures are those of the label maps."""
    right = figures(evaluate(pair_config(pair)))
    kept = partial_bytes(pair)
    wrong = spoil(pair_config(pair))
    assert figures(evaluate(pair_config(pair))) != right

    run = evaluate(pair_config(pair, cache={"use": False}))
    assert figures(run) == right
    assert partial_bytes(pair) == kept
    [line] = [
        row
        for row in map(json.loads, (run / "log.jsonl").read_text().splitlines())
        if row["event"] == "counts replaced"
    ]
    assert wrong.name in line["reason"]


def test_a_verified_cache_is_an_error_where_a_recount_differs(pair: Path) -> None:
    """It names the partial and what to do; nothing is published, and the next run has the right figures."""
    right = figures(evaluate(pair_config(pair)))
    wrong = spoil(pair_config(pair))
    verified = pair_config(pair, cache={"verify_percent": 100})
    with pytest.raises(WrongCountsError, match="counts that were kept are wrong: verification") as told:
        evaluate(verified)
    assert str(wrong) in str(told.value)
    assert "look at the memory and the disk of the machines that counted" in str(told.value)

    assert figures(evaluate(pair_config(pair))) == right
    assert figures(evaluate(verified)) == right


def test_a_share_of_the_cache_is_verified(pair: Path, reads: list[str]) -> None:
    """Buckets are drawn by their keys; the plan counts them as left."""
    assert counted(pair_config(pair)) == 4
    keys = partial_bytes(pair)
    reads.clear()
    # Keys are other ones for each copy of the stores, so a share that draws some and not all is looked for.
    recount = make_plan(pair_config(pair, cache={"verify_percent": 1})).recount
    drawn = {percent: sum(map(replace(recount, percent=percent).wants, keys)) for percent in range(1, 100)}
    percent = next(percent for percent, number in drawn.items() if 0 < number < 4)
    assert counted(pair_config(pair, cache={"verify_percent": percent})) == drawn[percent]
    assert reads


def test_a_selection_is_verified_against_the_larger_bucket(pair: Path) -> None:
    """Its images lie in partials of more images, which are compared as far as they are asked for."""
    config = pair_config(pair)
    evaluate(config)
    ids = image_ids(40)[:3]
    selected = pair_config(pair, select={"ids": ids}, cache={"verify_percent": 100})
    assert counted(selected) == 1
    store = partials_of(config)
    for path in list(store.folder.glob("??/*")):
        partial = store.read(path.name)
        assert partial is not None
        if partial.ids == tuple(ids):
            path.unlink()
        elif ids[0] in partial.ids:
            swapped = partial.counts.take([1, *range(1, len(partial.ids))])
            store.write(path.name, Partial(partial.ids, swapped))
    with pytest.raises(WrongCountsError, match="counts that were kept are wrong"):
        counted(selected)


def test_what_another_cpu_may_count_otherwise_is_replaced_in_silence(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statistic that says so of itself proves nothing; one that does not is compared like the matrix."""
    statistic = {"kind": "boundary_iou", "width_px": 2}
    config = pair_config(pair, statistics=[statistic])
    evaluate(config)
    store = partials_of(config)
    for path in store.folder.glob("??/*"):
        sums = store.read_as(StatisticPartial, path.name) if b'"fields"' in path.read_bytes() else None
        if sums is not None:
            more = {name: values + 1 for name, values in sums.counts.items()}
            store.write(path.name, StatisticPartial(sums.ids, more))
    verified = pair_config(pair, statistics=[statistic], cache={"verify_percent": 100})
    kept = {path: path.read_bytes() for path in store.folder.glob("??/*")}
    with monkeypatch.context() as patch:
        patch.setattr(STATISTICS["boundary_iou"], "exact", False)
        evaluate(verified)
    for path, data in kept.items():
        path.write_bytes(data)
    with pytest.raises(WrongCountsError, match=r"counts \(boundary_iou\) that are not those of a recount"):
        evaluate(verified)
