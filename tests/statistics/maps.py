"""Small label maps with everything in them that is odd."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

K = 3
Maps = tuple[NDArray[np.int64], NDArray[np.int64]]
Core = tuple[slice, ...]


@st.composite
def blocky_pairs(draw: st.DrawFn) -> Maps:
    """Codes of truth and pred of one image or volume: blocks of several sizes, and single pixels.

    Truth holds ignored and invalid pixels, pred void and invalid ones; now and then they are equal.
    """
    axes = draw(st.sampled_from([2, 2, 3]))
    shape = tuple(draw(st.lists(st.integers(1, 5 if axes == 3 else 10), min_size=axes, max_size=axes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.integers(1, 5))
    noise = draw(st.sampled_from([0.0, 0.05, 0.5]))
    truth, other = (_blocks(rng, shape, block, noise) for _ in range(2))
    pred = np.where(_blocks(rng, shape, block, 0.0) == 0, other, np.roll(truth, draw(st.integers(0, 2)), -1))
    return truth, truth.copy() if draw(st.integers(0, 9)) == 0 else pred


def _blocks(rng: np.random.Generator, shape: tuple[int, ...], block: int, noise: float) -> NDArray[np.int64]:
    codes = rng.choice(K + 2, p=[0.4, 0.3, 0.2, 0.05, 0.05], size=[-(-side // block) for side in shape])
    for axis in range(len(shape)):
        codes = codes.repeat(block, axis=axis)
    codes = codes[tuple(map(slice, shape))]
    return np.where(rng.random(shape) < noise, rng.integers(0, K + 2, shape), codes)


def parts_with_halo(maps: Maps, cuts: list[int], width: int) -> Iterator[tuple[*Maps, Core]]:
    """The image in rows and columns of parts, each with so much around it as there is."""
    height, columns = maps[0].shape[-2:]
    for rows in _spans(height, cuts):
        for across in _spans(columns, cuts[:1]):
            wide = [_grown(*span, width, side) for span, side in ((rows, height), (across, columns))]
            core = [slice(a - w.start, b - w.start) for (a, b), w in zip((rows, across), wide, strict=True)]
            box = (..., *wide)
            whole = (slice(None),) * (maps[0].ndim - 2)
            yield maps[0][box], maps[1][box], (*whole, *core)


def _spans(side: int, cuts: list[int]) -> list[tuple[int, int]]:
    edges = sorted({0, side, *(cut for cut in cuts if 0 < cut < side)})
    return list(pairwise(edges))


def _grown(start: int, stop: int, width: int, side: int) -> slice:
    return slice(max(start - width, 0), min(stop + width, side))
