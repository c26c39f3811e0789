"""Label maps that look like something, and maps of noise: what the kernel is measured on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IGNORE = 255


@lru_cache(maxsize=2)
def smooth_pair(
    seed: int, num_classes: int, shape: tuple[int, int] = (1024, 2048)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Truth of blobs, some of it ignored; pred is truth, bent a little and wrong in places. int64 (y, x).

    Both are drawn once and kept: do not write into them.
    """
    rng = np.random.default_rng(seed)
    active = min(num_classes, 14 if num_classes <= 30 else 18)
    truth = _blobs(rng, shape, num_classes, active, {256: 1.0, 64: 0.55, 16: 0.18})
    y, x = np.indices(shape, sparse=True)
    bent_y = np.clip(y + 3 * _field(rng, shape, 24), 0, shape[0] - 1).astype(np.int64)
    bent_x = np.clip(x + 3 * _field(rng, shape, 24), 0, shape[1] - 1).astype(np.int64)
    wrong = _field(rng, shape, 48) + 0.4 * _field(rng, shape, 12)
    other = _blobs(rng, shape, num_classes, active, {64: 1.0, 16: 0.4})
    pred = np.where(wrong > np.quantile(wrong, 0.95), other, truth[bent_y, bent_x])
    ignored = _field(rng, shape, 200) + 0.15 * _field(rng, shape, 20)
    return np.where(ignored > np.quantile(ignored, 0.94), IGNORE, truth), pred


def noise_pair(
    seed: int, num_classes: int, shape: tuple[int, int] = (1024, 2048)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pixel drawn for itself, int64 (y, x)."""
    truth, pred = np.random.default_rng(seed).integers(0, num_classes, (2, *shape))
    return truth, pred


def mean_run_px(truth: NDArray[np.int64], pred: NDArray[np.int64]) -> float:
    """The mean length of a run of equal (truth, pred) pairs."""
    pairs = (truth * 65536 + pred).ravel()
    return float(pairs.size / (1 + np.count_nonzero(pairs[1:] != pairs[:-1])))


def _blobs(
    rng: np.random.Generator, shape: tuple[int, int], num_classes: int, active: int, waves: dict[int, float]
) -> NDArray[np.int64]:
    """At each pixel the class whose random field is highest; `waves` is scale in px -> amplitude."""
    best = np.full(shape, -np.inf)
    labels = np.zeros(shape, np.int64)
    for rank, class_id in enumerate(rng.permutation(num_classes)[:active]):
        field = sum(height * _field(rng, shape, scale) for scale, height in waves.items()) - 0.1 * rank
        labels[field > best] = class_id
        best = np.maximum(best, field)
    return labels


def _field(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> NDArray[np.float64]:
    """Random numbers on a coarse grid, drawn out smoothly over the pixels."""
    coarse = rng.standard_normal([side // scale + 3 for side in shape])
    return _stretch(_stretch(coarse, shape[0], scale).T, shape[1], scale).T


def _stretch(values: NDArray[np.float64], length: int, scale: int) -> NDArray[np.float64]:
    place = np.arange(length) / scale
    index = place.astype(np.int64)
    part = (place - index)[:, None]
    part = part * part * (3 - 2 * part)
    return values[index] * (1 - part) + values[index + 1] * part
