"""Predictions as a segmentation network makes them: coarse, hesitating at edges, confusing what looks alike.

The scene is averaged over blocks of 4 x 4 pixels, as a network with an output stride of 4 sees it; the
averages are blurred, mixed by smooth random fields that favour a similar class here and there, and brought
back to full size by linear interpolation before the best class is taken. So thin things break up,
corners are rounded, and errors come in blobs that move with the sequence. All is integer arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.writing.figures import (
    BICYCLE,
    BUILDING,
    BUS,
    CAR,
    FENCE,
    MOTORCYCLE,
    PERSON,
    POLE,
    RIDER,
    ROAD,
    SIDEWALK,
    SKY,
    TERRAIN,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    TRAIN,
    TRUCK,
    VEGETATION,
    WALL,
)
from segpipe.writing.painting import Labels

STRIDE = 4
NUM_CLASSES = 19
ONE = 256
"""A certain class scores this much; scores are int16 from 0 to a few times as much."""

Scores = NDArray[np.int16]
Field = NDArray[np.int32]


@dataclass(frozen=True)
class Network:
    """How good a network is.

    Attributes:
        blurs: how often its view is blurred; one more loses things one or two pixels thinner.
        shift_px: how far edges are displaced at most.
        doubt: how readily it takes a class for a similar one, in 1/256 of a standard field.
        grain: how much its scores flicker from pixel to pixel, in 1/256.
        thin: the share of its score that a thin class keeps, in 1/256.
    """

    name: str
    blurs: int
    shift_px: int
    doubt: int
    grain: int
    thin: int


MODEL_A = Network("model_a", blurs=1, shift_px=2, doubt=0, grain=16, thin=256)
MODEL_B = Network("model_b", blurs=2, shift_px=4, doubt=75, grain=34, thin=215)
NETWORKS = (MODEL_A, MODEL_B)


@dataclass(frozen=True)
class Weather:
    """What the weather adds: doubt everywhere, blur where the scene is far away, more grain."""

    name: str
    doubt: int = 0
    haze: int = 0
    grain: int = 0


CLEAR = Weather("clear")
RAIN = Weather("rain", doubt=30, haze=60, grain=10)
FOG = Weather("fog", doubt=40, haze=220, grain=6)
NIGHT = Weather("night", doubt=75, haze=90, grain=16)

THIN = (POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, FENCE, PERSON, RIDER, BICYCLE, MOTORCYCLE)

CONFUSED: tuple[tuple[int, int, int, int], ...] = (
    # true class, what it is taken for, how far the field must rise (1/256), cells of the field across
    (ROAD, SIDEWALK, 780, 10),
    (SIDEWALK, ROAD, 470, 10),
    (SIDEWALK, TERRAIN, 580, 8),
    (BUILDING, WALL, 740, 9),
    (BUILDING, VEGETATION, 650, 10),
    (BUILDING, FENCE, 770, 9),
    (WALL, BUILDING, 330, 6),
    (WALL, FENCE, 380, 6),
    (FENCE, WALL, 420, 6),
    (FENCE, VEGETATION, 440, 6),
    (POLE, BUILDING, 430, 16),
    (TRAFFIC_LIGHT, POLE, 480, 14),
    (TRAFFIC_SIGN, BUILDING, 500, 12),
    (VEGETATION, TERRAIN, 780, 9),
    (VEGETATION, BUILDING, 630, 11),
    (TERRAIN, SIDEWALK, 420, 7),
    (TERRAIN, VEGETATION, 430, 7),
    (SKY, BUILDING, 790, 9),
    (PERSON, RIDER, 520, 12),
    (PERSON, BUILDING, 560, 14),
    (RIDER, PERSON, 330, 10),
    (CAR, TRUCK, 590, 7),
    (CAR, BUILDING, 740, 12),
    (TRUCK, CAR, 370, 5),
    (TRUCK, BUS, 400, 5),
    (BUS, TRUCK, 410, 5),
    (BUS, TRAIN, 440, 5),
    (TRAIN, BUS, 350, 5),
    (TRAIN, BUILDING, 500, 6),
    (MOTORCYCLE, BICYCLE, 330, 8),
    (BICYCLE, MOTORCYCLE, 520, 9),
    (BICYCLE, PERSON, 560, 12),
)


@dataclass(frozen=True)
class Moment:
    """What decides the errors of a frame beside the scene: seeds of the sequence, number of the frame."""

    seed: tuple[int, ...]
    frame: int

    def field(self, number: int, shape: tuple[int, int], cells: int) -> Field:
        """A smooth random field, int32 `shape`, deviation about 256, that turns slowly frame by frame."""
        random = np.random.default_rng([*self.seed, number])
        grid = random.integers(-700, 701, (2, cells // 2 + 2, cells + 2), dtype=np.int32)
        angle = 0.09 * self.frame
        turned = round(256 * np.cos(angle)) * grid[0] + round(256 * np.sin(angle)) * grid[1]
        return smooth(turned >> 8, shape)

    def grain(self, shape: tuple[int, int]) -> Field:
        """A fine random field of this frame alone, int32 `shape`."""
        random = np.random.default_rng([*self.seed, 1000 + self.frame])
        return smooth(
            random.integers(-600, 601, (shape[0] // 3 + 2, shape[1] // 3 + 2), dtype=np.int32), shape
        )


def smooth(grid: Field, shape: tuple[int, int]) -> Field:
    """Bring a grid to a size by smooth interpolation between its points, int32 `shape`.

    >>> smooth(np.array([[0, 256], [0, 256]], np.int32), (1, 5))
    array([[  6,  54, 128, 200, 248]], dtype=int32)
    """
    for axis, size in enumerate(shape):
        steps = grid.shape[axis] - 1
        position = (2 * np.arange(size) + 1) * steps * 128 // size
        first, part = position >> 8, position & 255
        weight = (part * part * (768 - 2 * part) >> 16).astype(np.int32)
        weight = weight[:, None] if axis == 0 else weight
        here, after = np.take(grid, first, axis), np.take(grid, np.minimum(first + 1, steps), axis)
        grid = here + ((after - here) * weight >> 8)
    return grid


def predict(seen: Labels, network: Network, weather: Weather, moment: Moment) -> Labels:
    """The label map that a network makes of a scene.

    Args:
        seen: class ids, uint8 (y, x), both sides multiples of 4.
        network, weather: what decides how many errors there are.
        moment: what decides which.

    Returns:
        class ids, uint8 (y, x).
    """
    scores = block_means(displaced(seen, network.shift_px, moment))
    present = scores.any(axis=(1, 2))
    scores[present] = blurred(scores[present], network.blurs)
    if weather.haze:
        scores[present] = hazed(scores[present], weather.haze)
    scores[list(THIN)] = scores[list(THIN)].astype(np.int32) * network.thin >> 8
    scores = doubted(scores, network.doubt + weather.doubt, moment)
    scores = grained(scores, network.grain + weather.grain, moment)
    return best_class(scores)


def displaced(seen: Labels, reach_px: int, moment: Moment) -> Labels:
    """The scene with its edges pushed about by smooth fields."""
    height, width = seen.shape
    coarse = (height // STRIDE, width // STRIDE)
    down, right = (moment.field(900 + axis, coarse, 40).astype(np.intp) * reach_px >> 9 for axis in (0, 1))
    row, column = np.arange(0, height, STRIDE)[:, None], np.arange(0, width, STRIDE)
    down = np.minimum(np.maximum(down, -row), height - STRIDE - row)
    right = np.minimum(np.maximum(right, -column), width - STRIDE - column)
    jumps = (down * width + right).repeat(STRIDE, 1).repeat(STRIDE, 0)
    jumps += np.arange(height * width).reshape(height, width)
    moved: Labels = np.take(seen, jumps)
    return moved


def block_means(seen: Labels) -> Scores:
    """The share of every class in blocks of 4 x 4 pixels, int16 (class, y / 4, x / 4), 256 = all of it."""
    shares = np.zeros((NUM_CLASSES, seen.shape[0] // STRIDE, seen.shape[1] // STRIDE), np.int16)
    for class_id in np.flatnonzero(np.bincount(seen.ravel(), minlength=NUM_CLASSES)):
        # Four neighbours are the bytes of one word; the product adds them up in its highest byte.
        words = (seen == class_id).view(np.uint32)
        words = words[0::4] + words[1::4] + words[2::4] + words[3::4]
        shares[class_id] = (words * np.uint32(0x01010101) >> np.uint32(24)) * (ONE // STRIDE**2)
    return shares


def blurred(scores: Scores, times: int) -> Scores:
    """Each score mixed with its neighbours, (1 2 1) / 4 in both directions, `times` times."""
    for _ in range(times):
        for axis in (1, 2):
            before, after = neighbours(scores, axis)
            scores = (before + 2 * scores + after + 2) >> 2
    return scores


def neighbours(scores: Scores, axis: int) -> tuple[Scores, Scores]:
    """The scores one block before and one after along an axis; at the border a block is its own neighbour."""
    along = np.moveaxis(scores, axis, 0)
    before, after = np.concatenate([along[:1], along[:-1]]), np.concatenate([along[1:], along[-1:]])
    return np.moveaxis(before, 0, axis), np.moveaxis(after, 0, axis)


def hazed(scores: Scores, haze: int) -> Scores:
    """Blur what is far away: the nearer to where the street meets the horizon, the more."""
    rows, columns = scores.shape[1:]
    down = np.arange(rows)[:, None] * 256 // rows - 110
    aside = np.arange(columns) * 256 // columns - 128
    distance = down * down * 4 + aside * aside
    share = np.clip(haze - (distance >> 6), 0, 256).astype(np.int32)
    change: Field = (blurred(scores, 5).astype(np.int32) - scores) * share >> 8
    return (scores + change).astype(np.int16)


def doubted(scores: Scores, doubt: int, moment: Moment) -> Scores:
    """Part of a class's score goes to a similar class where their common field is high."""
    mixed = scores.copy()
    present = set(np.flatnonzero(scores.any(axis=(1, 2))))
    for number, (true, taken_for, rise, cells) in enumerate(CONFUSED):
        if true in present:
            field = moment.field(number, (scores.shape[1], scores.shape[2]), cells)
            share = np.minimum(np.maximum(ONE + 2 * (field + doubt - rise), 0), 2 * ONE)
            mixed[taken_for] += (scores[true] * share >> 8).astype(np.int16)
    return mixed


def grained(scores: Scores, grain: int, moment: Moment) -> Scores:
    """Scores that flicker: neighbours in the class list in opposite directions."""
    field = moment.grain((scores.shape[1], scores.shape[2])) * grain >> 8
    factors = np.stack([ONE + field, ONE - field]).astype(np.int32)
    return (scores * factors[np.arange(NUM_CLASSES) % 2] >> 8).astype(np.int16)


def best_class(scores: Scores) -> Labels:
    """The class of the highest score at full size, uint8 (y, x); ties go to the lowest class id."""
    height, width = scores.shape[1] * STRIDE, scores.shape[2] * STRIDE
    best = np.full((height, width), -1, np.int16)
    labels = np.zeros((height, width), np.uint8)
    for class_id, score in enumerate(scores):
        rows, columns = np.flatnonzero(score.max(axis=1)), np.flatnonzero(score.max(axis=0))
        if not rows.size:
            continue
        down, right = _around(rows, scores.shape[1]), _around(columns, scores.shape[2])
        full = enlarged(score[down, right])
        window = tuple(slice(side.start * STRIDE, side.stop * STRIDE) for side in (down, right))
        better = full > best[window]
        np.copyto(best[window], full, where=better)
        np.copyto(labels[window], np.uint8(class_id), where=better)
    return labels


def _around(indices: NDArray[np.intp], size: int) -> slice:
    """From the first to the last index and one more on both sides, cut at the picture."""
    return slice(max(int(indices[0]) - 1, 0), min(int(indices[-1]) + 2, size))


def enlarged(score: Scores) -> Scores:
    """Four times as high and wide by linear interpolation, int16; scores become 16 times as large."""
    for axis in (0, 1):
        before, after = neighbours(score, axis)
        steps = [3 * before + 5 * score, before + 7 * score, 7 * score + after, 5 * score + 3 * after]
        shape = [length * (STRIDE if axis == each else 1) for each, length in enumerate(score.shape)]
        score = np.stack(steps, axis=axis + 1).reshape(shape) >> 1
    return score
