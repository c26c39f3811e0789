"""How wide is near: a number of pixels, or a share of the diagonal of the image."""

from __future__ import annotations

import math


def width_px(declared: int | None, share: float, size: tuple[int, ...] | None) -> int | None:
    """The declared width, else so much of the diagonal, rounded, and one pixel at least.

    Args:
        declared: px, or None.
        share: of the diagonal.
        size: of the image, px; None: it is not known, because images are cut.

    Returns:
        The width; None if it is neither declared nor can be told.

    >>> width_px(None, 0.02, (480, 640)), width_px(None, 0.02, (4, 4)), width_px(5, 0.02, None)
    (16, 1, 5)
    """
    if declared is not None or size is None:
        return declared
    # The half goes to the even number, as in the program of Cheng et al.
    return max(1, round(share * math.sqrt(sum(side * side for side in size))))
