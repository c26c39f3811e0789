"""A key names all that decides the counts of a bucket, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segpipe.classes import LabelRules
from segpipe.config import SmallObjects
from segpipe.planning import keys
from segpipe.planning.bucket import Bucket, BucketSide
from segpipe.planning.keys import bucket_key, statistic_key
from segpipe.planning.plan_file import BUCKETS_PER_GROUP, PlannedBucket, read_buckets, read_plan, write_plan
from segpipe.sources.storage import ObjectInfo
from segpipe.statistics.base import STATISTICS
from tests.planning.images import array

TRUTH, PRED = LabelRules.of(3, no_class=[255]), LabelRules.of(3)
META = array("labels", (8, 4, 4), (2, 4, 4))
SEEN = ObjectInfo(30, "tag", 5)


def side(**changes: Any) -> BucketSide:
    """Two images in one chunk."""
    given = {"arrays": (META,), "objects": ({"c/0/0/0": SEEN},), "array": (0, 0), "index": (0, 1)}
    return BucketSide(**{**given, "corner": ((0, 0), (0, 0)), **changes})


BUCKET = Bucket(0, ("a", "b"), ((4, 4), (4, 4)), side(), side())

DECIDES: dict[str, dict[str, Any]] = {
    "ids": {"ids": ("a", "c")},
    "order of ids": {"ids": ("b", "a")},
    "size of an object": {"objects": ({"c/0/0/0": replace(SEEN, size=31)},)},
    "tag of an object": {"objects": ({"c/0/0/0": replace(SEEN, tag="other")},)},
    "content of an object": {"objects": ({"c/0/0/0": replace(SEEN, content="ab")},)},
    "absent object": {"objects": ({"c/0/0/0": None},)},
    "another object": {"objects": ({"c/1/0/0": SEEN},)},
    "one more object": {"objects": ({"c/0/0/0": SEEN, "c/1/0/0": SEEN},)},
    "place in the array": {"index": (0, 2)},
    "fill value": {"arrays": (array("labels", (8, 4, 4), (2, 4, 4), fill_value=1),)},
    "dtype": {"arrays": (array("labels", (8, 4, 4), (2, 4, 4), data_type="int8"),)},
    "chunks": {"arrays": (array("labels", (8, 4, 4), (2, 4, 2)),)},
    "shards": {"arrays": (array("labels", (8, 4, 4), (2, 4, 4), (4, 4, 4)),)},
    "codecs": {"arrays": (array("labels", (8, 4, 4), (2, 4, 4), codecs=[{"name": "bytes"}]),)},
    "valid extent": {"sizes": ((4, 3), (4, 4))},
    "first pixel of an image": {"corner": ((0, 0), (0, 1))},
    "axis of classes": {"arrays": (replace(META, class_axis=1),)},
}

SAME: dict[str, dict[str, Any]] = {
    "images appended": {"arrays": (array("labels", (80, 4, 4), (2, 4, 4)),)},
    "another path": {"arrays": (array("other/labels", (8, 4, 4), (2, 4, 4)),)},
    "attributes": {"arrays": (array("labels", (8, 4, 4), (2, 4, 4), attributes={"by": "me"}),)},
    "names of dimensions": {
        "arrays": (array("labels", (8, 4, 4), (2, 4, 4), dimension_names=["i", "y", "x"]),)
    },
    "time of the last change": {"objects": ({"c/0/0/0": replace(SEEN, modified_ns=6)},)},
}


def changed(which: str, changes: dict[str, Any]) -> Bucket:
    """The bucket with a change on one side."""
    if changes.keys() & {"ids", "sizes"}:
        return replace(BUCKET, **changes)
    part = side(**changes)
    return replace(BUCKET, truth=part) if which == "truth" else replace(BUCKET, pred=part)


@pytest.mark.parametrize("which", ["truth", "pred"])
@pytest.mark.parametrize("change", DECIDES)
def test_what_decides_counts_is_in_the_key(change: str, which: str) -> None:
    """Another key for each change, on either side."""
    assert bucket_key(changed(which, DECIDES[change]), TRUTH, PRED) != bucket_key(BUCKET, TRUTH, PRED)


@pytest.mark.parametrize("which", ["truth", "pred"])
@pytest.mark.parametrize("change", SAME)
def test_what_decides_no_count_is_not(change: str, which: str) -> None:
    """Appending, moving and describing recount nothing."""
    assert bucket_key(changed(which, SAME[change]), TRUTH, PRED) == bucket_key(BUCKET, TRUTH, PRED)


def test_place_of_a_bucket_is_not_in_the_key() -> None:
    """New buckets before it leave it as it is."""
    assert bucket_key(replace(BUCKET, number=7), TRUTH, PRED) == bucket_key(BUCKET, TRUTH, PRED)


def test_sides_are_told_apart() -> None:
    """Truth for pred, in the stores or in the rules, is another key."""
    other = side(index=(1, 0))
    one, two = replace(BUCKET, truth=other), replace(BUCKET, pred=other)
    assert bucket_key(one, TRUTH, PRED) != bucket_key(two, TRUTH, PRED)
    assert bucket_key(BUCKET, TRUTH, PRED) != bucket_key(BUCKET, PRED, TRUTH)


def test_what_lies_over_label_maps_is_in_the_key() -> None:
    """The mask, its name, what decides its pixels, and whether its absent chunks are its fill value."""
    over = replace(BUCKET, overlays={"valid": side()})
    of_the_array = [change for change in DECIDES.values() if not change.keys() & {"ids", "sizes"}]
    others = [
        BUCKET,
        over,
        replace(over, filled=("valid",)),
        replace(over, overlays={"other": side()}),
        replace(over, overlays={"valid": side(), "other": side()}),
        *(replace(over, overlays={"valid": side(**change)}) for change in of_the_array),
    ]
    assert len({bucket_key(other, TRUTH, PRED) for other in others}) == len(others)


def test_keys_of_old_stay() -> None:
    """Without anything over the label maps, and with a mask: what they were before weights came."""
    masked = replace(BUCKET, overlays={"valid": side()})
    found = [bucket_key(bucket, TRUTH, PRED) for bucket in (BUCKET, masked)]
    assert found == ["45b1088de06862645f2543f315acf4c358da730b", "e46f1b6e0c46285a6bb26b530e2d74c597df95a0"]


def test_keys_of_statistics_and_small_objects_stay() -> None:
    """What they were before statistics had names, and before small objects of pred could be ignored."""
    one = STATISTICS["boundary_iou"](width_px=2)
    found = [statistic_key(BUCKET, "k", each) for each in (one, STATISTICS["components"]())]
    assert found == ["941ef27236808fbfe36a1d5a06e4c9462fa7c6e7", "a45966cd5b904f0d4b171fb1af03dc11ee6906c5"]
    assert statistic_key(BUCKET, "k", STATISTICS["boundary_iou"](width_px=2, name="wide")) == found[0]
    small = {"min_object_px": 9, "connectivity": 8}
    in_truth = bucket_key(BUCKET, TRUTH, PRED, SmallObjects.model_validate(small))
    assert in_truth == "37cb23ad04b038af3c333ea387507cf8fe44b493"
    in_pred = SmallObjects.model_validate({**small, "in_pred": True})
    assert bucket_key(BUCKET, TRUTH, PRED, in_pred) != in_truth


def test_how_weights_are_summed_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of buckets with weights, and of no others."""
    weighed = replace(BUCKET, overlays={"weights": side()})
    before = [bucket_key(bucket, TRUTH, PRED) for bucket in (weighed, BUCKET)]
    for name in ("WEIGHING_VERSION", "UNIT_BITS"):
        with monkeypatch.context() as patch:
            patch.setattr(keys, name, 77)
            after = [bucket_key(bucket, TRUTH, PRED) for bucket in (weighed, BUCKET)]
        assert (after[0] != before[0], after[1]) == (True, before[1])


def test_rules_and_versions_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, codes, the number of classes, and what counts them."""
    found = {bucket_key(BUCKET, TRUTH, PRED), bucket_key(BUCKET, LabelRules.of(4, no_class=[255]), PRED)}
    found.add(bucket_key(BUCKET, LabelRules.of(3, no_class=[254]), PRED))
    found.add(bucket_key(BUCKET, TRUTH, LabelRules.of(3, remap={0: 0, 1: 1, 2: 1})))
    for name in ("SCHEMA_VERSION", "COUNTING_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(keys, name, "another")
            found.add(bucket_key(BUCKET, TRUTH, PRED))
    assert len(found) == 6


def test_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """In order, or some buckets by number, over several groups of rows; absent objects stay absent."""
    lost = side(objects=({"c/0/0/0": None},))
    none = BucketSide((), (), (-1, -1), (-1, -1), ())
    over = replace(BUCKET, overlays={"valid": lost, "other": side()}, filled=("valid",))
    kinds = [over, replace(BUCKET, truth=lost), replace(BUCKET, pred=none)]
    planned = [
        PlannedBucket(replace(kinds[number % 3], number=number, key=f"{number:040x}"), number % 2 == 0)
        for number in range(2 * BUCKETS_PER_GROUP + 5)
    ]
    path = tmp_path / "plan.parquet"
    write_plan(path, iter(planned))

    assert list(read_plan(path)) == planned
    numbers = [3, BUCKETS_PER_GROUP, 2 * BUCKETS_PER_GROUP + 4]
    assert list(read_buckets(path, numbers)) == [planned[number].bucket for number in numbers]
    for one in read_buckets(path, numbers):
        assert bucket_key(one, TRUTH, PRED) == bucket_key(planned[one.number].bucket, TRUTH, PRED)
