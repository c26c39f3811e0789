"""The compiled pass of `segpipe.kernels.probabilities`: softmax in sums, products and quotients alone.

The mathematics libraries' exp differs in its last digits from CPU to CPU, and from one end of an array to the
other. This one is a polynomial and ten squarings, which IEEE 754 defines to the last bit, and which the
compiler may take four pixels at a time without changing any of them (nothing is fused: no fast mathematics).
"""

from __future__ import annotations

from typing import Any

from segpipe.kernels.jit import compiled, inlined

LOWEST = -700.0
"""exp of less than this, 1e-304, is taken for 0."""


@inlined
def _exp(x: float) -> float:
    """e^x for x <= 0, within 1e-12: Taylor's polynomial of x / 1024, to the power of 1024."""
    y = (x if x > LOWEST else LOWEST) * (1.0 / 1024.0)
    power = 1.0 + y * (1.0 + y * (1.0 / 2.0 + y * (1.0 / 6.0 + y * (1.0 / 24.0 + y * (1.0 / 120.0)))))
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return power if x >= LOWEST else 0.0


@compiled
def softmax(scores: Any, top: Any, total: Any) -> None:
    """Replace logits by probabilities.

    Args:
        scores: float64 (class, pixel), contiguous; infinite ones share what there is, NaN spoils its pixel.
        top, total: float64 (pixel,), scratch.
    """
    classes, pixels = scores.shape
    # Loops also where a slice would do: a slice that is assigned to takes seconds to compile.
    for x in range(pixels):
        top[x], total[x] = scores[0, x], 0.0
    for class_id in range(1, classes):
        row = scores[class_id]
        for x in range(pixels):
            top[x] = row[x] if row[x] > top[x] else top[x]
    for class_id in range(classes):
        row = scores[class_id]
        for x in range(pixels):
            # Equal to the largest is 0 below it, also where both are infinite.
            row[x] = _exp(0.0 if row[x] == top[x] else row[x] - top[x])
            total[x] += row[x]
    for x in range(pixels):
        total[x] = 1.0 / total[x]
    for class_id in range(classes):
        row = scores[class_id]
        for x in range(pixels):
            row[x] *= total[x]
