"""Real label maps, where they are at hand: read with the absent chunks that their README names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from segpipe.sources.layouts import LAYOUTS
from segpipe.sources.reader import open_reader
from segpipe.sources.storage import open_storage
from tests.sources.stores import box_of, expectation, view

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data is not there")


@pytest.mark.parametrize("side", ["truth", "pred"])
@pytest.mark.parametrize(
    ("store", "layout", "count"),
    [
        ("spine.zarr", "stacked", 17),
        ("ragged_ade.zarr", "grouped", 4),
        ("ragged_deeplab2.zarr", "grouped", 3),
    ],
)
def test_labels_are_those_that_zarr_reads(store: str, layout: str, count: int, side: str) -> None:
    """Every image of the three stores, through the layout and the checked reader."""
    seen = view(DATA / store)
    images = LAYOUTS[layout](seen, side)
    assert len(images) == count
    for meta in images.arrays:
        reader = open_reader(meta, open_storage(images.store), expectation(seen, meta))
        stored = np.asarray(zarr.open_array(str(DATA / store), path=meta.path, mode="r")[:])
        labels = reader.read(box_of(meta.shape))
        np.testing.assert_array_equal(labels, stored)
        for region in reader.absent(box_of(meta.shape)):
            assert (labels[region] == meta.fill_value).all()


@pytest.mark.parametrize("side", ["truth", "pred"])
def test_six_of_twenty_chunks_of_the_spine_were_never_written(side: str) -> None:
    """They are background, and the store does not declare it."""
    seen = view(DATA / "spine.zarr")
    images = LAYOUTS["stacked"](seen, side)
    meta = images.arrays[0]
    assert len(list(meta.units())) == 20
    reader = open_reader(meta, seen.storage, expectation(seen, meta))
    assert len(reader.absent(box_of(meta.shape))) == 6
    assert not images.declares_missing_fill
    assert images.ids is None
