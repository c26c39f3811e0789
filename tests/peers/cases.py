"""The label maps that the peers are asked about: small, and each odd in its own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
Maps = list[list[list[int]]]


@dataclass(frozen=True)
class Case:
    """Label maps of one size, each (image, y, x)."""

    name: str
    num_classes: int
    truth: NDArray[np.int64]
    pred: NDArray[np.int64]


def _written(name: str, classes: int, truth: Maps, pred: Maps) -> Case:
    return Case(name, classes, np.array(truth), np.array(pred))


def _random(name: str, seed: int, classes: int, drawn: int, ignored: float = 0.0) -> Case:
    """Five images of 6 x 7, of which the labels below `drawn` are drawn, half of the predictions right."""
    source = np.random.default_rng(seed)
    truth = source.integers(0, drawn, (5, 6, 7))
    pred = np.where(source.random(truth.shape) < 0.5, truth, source.integers(0, drawn, truth.shape))
    truth[source.random(truth.shape) < ignored] = IGNORED
    return Case(name, classes, truth, pred)


def _changed(case: Case, name: str, side: str, label: int) -> Case:
    """The same with a label of its own in the corner of two images."""
    maps = {"truth": case.truth.copy(), "pred": case.pred.copy()}
    maps[side][1:3, :2, :3] = label
    return Case(name, case.num_classes, maps["truth"], maps["pred"])


def _cases() -> dict[str, Case]:
    plain = _random("plain", 1, 4, 4)
    no_truth = _random("predicted only", 2, 4, 3)
    no_truth.pred[0, 0, :3] = 3
    some = _random("classes of some images", 3, 4, 4)
    some.truth[:3][some.truth[:3] == 2] = 0
    some.pred[:2][some.pred[:2] == 2] = 1
    every = [
        _written("worked, one image", 4, [[[0, 0, 1, 3], [0, 3, 1, 3]]], [[[0, 0, 1, 1], [3, 3, 1, 3]]]),
        _written("worked, two images", 3, [[[0, 0, 1, 1]], [[0, 0, 2, 2]]], [[[0, 1, 1, 1]], [[0, 0, 2, 1]]]),
        _written("documentation", 2, [[[0, 0, 1, 1]]], [[[0, 1, 0, 1]]]),
        plain,
        _random("absent", 4, 5, 4),
        no_truth,
        some,
        _random("ignored", 5, 4, 4, ignored=0.2),
        _changed(plain, "prediction K", "pred", 4),
        _changed(plain, "prediction 255", "pred", IGNORED),
        _changed(plain, "stray truth", "truth", 9),
    ]  # fmt: skip
    return {case.name: case for case in every}


CASES = _cases()
