"""Buckets hold every image once, outlive appended images, and are read as often as the plan says."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segpipe.config import make_config
from segpipe.execution.choose import group_tasks, tasks_needed
from segpipe.planning import buckets
from segpipe.planning.alignment import Alignment, align
from segpipe.planning.buckets import Cut, cut_buckets, read_amplification
from segpipe.planning.inventory import Inventory
from segpipe.planning.memory import task_memory
from tests.planning.images import grouped, stacked

COUNTS = st.integers(1, 60)
UNITS = st.integers(1, 9)
BUCKETS = st.integers(1, 40)


def aligned(inventory: Inventory, **settings: Any) -> Alignment:
    """The images of both sides, matched."""
    config = make_config({"truth": "t", "pred": "p", "classes": 2, **settings})
    return align(inventory, config, np.ones(len(inventory.truth), np.bool_))


def members(cut: Cut, ids: list[str]) -> list[tuple[str, ...]]:
    """The ids of each bucket."""
    return [tuple(ids[start:stop]) for start, stop in pairwise(cut.starts.tolist())]


@given(count=COUNTS, truth=UNITS, pred=UNITS, images=BUCKETS)
def test_buckets_are_runs_of_whole_units_with_every_image_once(
    count: int, truth: int, pred: int, images: int
) -> None:
    """No unit of truth is in two buckets, nor one of pred where the common multiple is small enough."""
    inventory = Inventory(stacked(count, truth), stacked(count, pred))
    cut = cut_buckets(inventory, aligned(inventory), images)

    assert cut.starts[0] == 0
    assert cut.starts[-1] == count
    assert (np.diff(cut.starts) > 0).all()
    assert (cut.starts[:-1] % truth == 0).all()
    if truth * pred <= 16 * max(images, truth):
        assert (cut.starts[:-1] % pred == 0).all()
    assert (np.diff(cut.starts)[:-1] >= images).all()


@given(count=COUNTS, more=COUNTS, truth=UNITS, pred=UNITS, images=BUCKETS)
def test_appended_images_leave_old_buckets(count: int, more: int, truth: int, pred: int, images: int) -> None:
    """All buckets but the last, which may have been half full, are the same afterwards."""
    cuts = []
    for number in (count, count + more):
        inventory = Inventory(stacked(number, truth), stacked(number, pred))
        cuts.append(cut_buckets(inventory, aligned(inventory), images).starts.tolist())

    assert cuts[1][: len(cuts[0]) - 1] == cuts[0][:-1]


@given(count=COUNTS, images=BUCKETS)
def test_grouped_buckets_hold_every_image_once(count: int, images: int) -> None:
    """Of at most four times the images that were asked for."""
    ids = [f"img_{index:03d}" for index in range(count)]
    inventory = Inventory(grouped(ids), grouped(ids))
    cut = cut_buckets(inventory, aligned(inventory), images)

    assert sum(members(cut, ids), ()) == tuple(ids)
    assert max(map(len, members(cut, ids))) <= 4 * images
    assert cut.window_images == 1


@pytest.mark.parametrize("where", [0, 17, 111, 250, 398])
def test_one_new_image_of_a_group_changes_its_bucket_alone(where: int) -> None:
    """So buckets are cut by what the ids are, not by how many come before."""
    ids = [f"img_{index:03d}" for index in range(400)]
    more = sorted([*ids, f"img_{where:03d}b"])
    cuts = []
    for names in (ids, more):
        inventory = Inventory(grouped(names), grouped(names))
        cuts.append(set(members(cut_buckets(inventory, aligned(inventory), 8), names)))

    assert len(cuts[0]) > 20
    assert len(cuts[0] - cuts[1]) <= 1


@example(count=2, lost={0, 1}, unit=1, images=1)
@given(count=st.integers(2, 40), lost=st.sets(st.integers(0, 39), min_size=1), unit=UNITS, images=BUCKETS)
def test_images_without_prediction_share_no_bucket_with_others(
    count: int, lost: set[int], unit: int, images: int
) -> None:
    """They come last, each once; what is counted of the others does not depend on them."""
    ids = [f"img_{index:03d}" for index in range(count)]
    there = [name for index, name in enumerate(ids) if index not in lost]
    inventory = Inventory(stacked(count, unit, ids=ids), stacked(len(there), unit, ids=there))
    alignment = aligned(inventory, on_missing_pred="count_as_void")
    cut = cut_buckets(inventory, alignment, images)

    assert task_memory(inventory, cut) > 0
    assert sorted(alignment.ids) == ids
    for start, stop in pairwise(cut.starts.tolist()):
        assert len(set((alignment.pred[start:stop] < 0).tolist())) == 1
    matched = alignment.pred >= 0
    assert [alignment.ids[index] for index in np.flatnonzero(matched)] == there
    np.testing.assert_array_equal(alignment.pred[matched], np.arange(len(there)))


@given(
    order=st.integers(1, 30).flatmap(lambda count: st.permutations(range(count))),
    truth=UNITS,
    pred=st.tuples(UNITS, st.none() | st.integers(1, 3)),
    images=BUCKETS,
    window=st.sampled_from([1, 100, 1000, 1 << 30]),
)
def test_read_amplification_is_what_is_read(
    order: list[int], truth: int, pred: tuple[int, int | None], images: int, window: int
) -> None:
    """Against a count of the chunks that each window touches, one by one."""
    ids = [f"img_{index:03d}" for index in range(len(order))]
    factor, parts = pred
    unit, inner = (factor, None) if parts is None else (factor * parts, factor)
    inventory = Inventory(
        stacked(len(ids), truth, ids=ids), stacked(len(ids), unit, inner, ids=[ids[at] for at in order])
    )
    alignment = aligned(inventory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "WINDOW_BYTES", window)
        cut = cut_buckets(inventory, alignment, images)

    read = 0
    for start, stop in pairwise(cut.starts.tolist()):
        for first in range(start, stop, cut.window_images):
            chosen = range(first, min(first + cut.window_images, stop))
            read += truth * len({alignment.truth[image] // truth for image in chosen})
            read += factor * len({alignment.pred[image] // factor for image in chosen})
    needed = truth * -(-len(ids) // truth) + factor * -(-len(ids) // factor)
    assert read_amplification(inventory, alignment, cut) == pytest.approx(read / needed)


@given(left=st.lists(st.integers(0, 10**6), min_size=1, unique=True), seconds=st.floats(0, 1e6), slots=UNITS)
def test_tasks_hold_every_bucket_once_in_order(left: list[int], seconds: float, slots: int) -> None:
    """However the buckets are grouped; no task is empty."""
    tasks = list(group_tasks(left, tasks_needed(len(left), seconds, slots)))

    assert [part.bucket for task in tasks for part in task] == left
    assert all(tasks)
    assert max(map(len, tasks)) - min(map(len, tasks)) <= 1
