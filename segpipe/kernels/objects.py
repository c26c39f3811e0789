"""Objects: connected components of one class. What connects them is connected-components-3d, an extra."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ArrayError, ConfigError
from segpipe.kernels.outside import Codes, without_ignored

CONNECTIVITIES = {2: (4, 8), 3: (6, 26)}
"""Axes of an image -> over how many neighbours its pixels are connected: sides only, or corners too."""

Objects = tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]


def count_objects(
    truth: NDArray[Any], pred: NDArray[Any], num_classes: int, connectivity: int
) -> tuple[Objects, Objects]:
    """The objects of truth and of the prediction of one image, and how far the other side covers each.

    Ignored pixels lie beyond the edge (see `segpipe.kernels.outside`): an object that reaches into them is as
    large as what is seen of it.

    Args:
        truth: codes of one image, any integer dtype, (y, x) or (z, y, x): 0..K-1, K ignored, K+1 invalid.
        pred: codes, the shape of `truth`.
        num_classes: K.
        connectivity: 4 or 8 in an image, 6 or 26 in a volume.

    Returns:
        For truth and for the prediction: uint16 (n,) the class of every object, int64 (n,) its pixels, int64
        (n,) those of them that have the same class on the other side.

    Raises:
        ShapeError: the shapes differ.
        ArrayError: a dtype is no integer, or pixels are not connected so.
        ConfigError: connected-components-3d is not installed.

    >>> truth = np.array([[0, 1, 0], [0, 0, 1]])
    >>> [part.tolist() for part in count_objects(truth, truth * 0, num_classes=2, connectivity=4)[0]]
    [[0, 1, 0, 1], [3, 1, 1, 1], [3, 0, 1, 0]]
    """
    require_connectivity(truth.ndim, connectivity)
    one, other = without_ignored(truth, pred, num_classes)
    return _objects(one, other, num_classes, connectivity), _objects(other, one, num_classes, connectivity)


def drop_small_objects(
    codes: NDArray[np.uint16], num_classes: int, min_object_px: int, connectivity: int
) -> NDArray[np.uint16]:
    """The codes of one image without the objects of fewer than so many pixels: these become no class, K.

    Args:
        codes: uint16 (y, x) or (z, y, x); left as they are.
        num_classes: K.
        min_object_px: the size of the smallest objects that stay.
        connectivity: 4 or 8 in an image, 6 or 26 in a volume.

    Raises:
        ArrayError: pixels are not connected so.
        ConfigError: connected-components-3d is not installed.

    >>> drop_small_objects(np.array([[0, 0, 1, 2]], np.uint16), 2, min_object_px=2, connectivity=4).tolist()
    [[0, 0, 2, 2]]
    """
    require_connectivity(codes.ndim, connectivity)
    if not codes.size:
        return codes.copy()
    numbers, count = _connected(codes, num_classes, connectivity)
    pixels = np.bincount(numbers.reshape(-1), minlength=count + 1)
    small = pixels < min_object_px
    small[0] = False
    kept = codes.copy()
    np.copyto(kept, num_classes, where=small[numbers])
    return kept


def require_connectivity(axes: int, connectivity: int) -> None:
    """Refuse a connectivity that images of so many axes have not.

    Raises:
        ArrayError: 4 and 8 are of images, 6 and 26 of volumes.
    """
    known = CONNECTIVITIES.get(axes, ())
    if connectivity not in known:
        expected = " or ".join(map(str, known)) or "an image (y, x) or a volume (z, y, x)"
        message = f"connectivity {connectivity} in {axes} dimensions, expected {expected}"
        raise ArrayError(message)


def _objects(own: Codes, other: Codes, num_classes: int, connectivity: int) -> Objects:
    if not own.size:
        return np.empty(0, np.uint16), np.empty(0, np.int64), np.empty(0, np.int64)
    from segpipe.kernels._objects import add_objects  # Numba is loaded here and nowhere earlier.

    numbers, count = _connected(own, num_classes, connectivity)
    pixels, hits = np.zeros((2, count + 1), np.int64)
    labels = np.zeros(count + 1, np.uint16)
    add_objects(numbers.reshape(-1), own.reshape(-1), other.reshape(-1), pixels, hits, labels)
    return labels[1:], pixels[1:], hits[1:]


def _connected(codes: Codes, num_classes: int, connectivity: int) -> tuple[NDArray[np.uint32], int]:
    """The number of the object of every pixel, 0 where there is no class, and how many objects there are."""
    try:
        import cc3d
    except ImportError as error:
        message = (
            "objects need the package connected-components-3d, which is not installed: "
            "install segpipe with its extra, pip install 'segpipe[statistics]'"
        )
        raise ConfigError(message) from error

    classes = codes + codes.dtype.type(1)
    np.copyto(classes, 0, where=codes >= num_classes)
    options: Any = {"connectivity": connectivity, "out_dtype": np.uint32}
    numbers, count = cc3d.connected_components(classes, return_N=True, **options)
    return np.ascontiguousarray(numbers, np.uint32), int(count)
