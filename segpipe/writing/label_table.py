"""What the values or colours of an image file mean: the label that each becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, Problem, first_of
from segpipe.writing.prediction_store import Labels

Color = tuple[int, int, int]

SHOWN = 5
"""How many unknown values a message names for each file."""


@dataclass(frozen=True)
class LabelTable:
    """Values to labels, all at once.

    Attributes:
        remap: value of the file -> label; empty: values are labels.
        colors: colour of the file -> label; empty: files of colours cannot be read.
        labels: which labels there may be.
    """

    remap: Mapping[int, int]
    colors: Mapping[Color, int]
    labels: Labels

    def dtype(self, plain: Sequence[str], *, colored: bool) -> np.dtype[Any]:
        """The dtype of the store: as small as the labels allow; not below that of files taken as they are.

        Args:
            plain: the dtypes of the files that hold one value for each pixel.
            colored: there are files of colours too.

        Raises:
            ConfigError: no integer dtype holds the values of all files.
        """
        targets = (*(self.colors.values() if colored else ()), *(self.remap.values() if plain else ()))
        dtypes = [] if self.labels.known or self.remap else [_integers(name) for name in plain]
        if self.labels.known or targets:
            dtypes.append(
                Labels(self.labels.names, self.labels.ids, (*self.labels.no_class, *targets)).dtype()
            )
        common = np.result_type(*dtypes).newbyteorder("=")
        if common.kind == "f":
            message = (
                f"found files of {' and '.join(plain)}, which no integer dtype holds; expected one of them"
            )
            raise ConfigError(message)
        return common

    def apply(self, pixels: NDArray[Any]) -> tuple[NDArray[Any], str]:
        """The label map (y, x) of an image, and what in it is unknown, in words (empty: nothing)."""
        if pixels.ndim == 3:
            packed = pack(pixels)
            colors = {
                (red << 16) | (green << 8) | blue: label for (red, green, blue), label in self.colors.items()
            }
            labelled, unknown = mapped(packed, colors)
            return labelled, _counted(
                "colours", {f"{_color(value)}": count for value, count in unknown.items()}
            )
        if not self.remap:
            return pixels, ""
        labelled, unknown = mapped(pixels, self.remap)
        return labelled, _counted("values", {str(value): count for value, count in unknown.items()})


def _integers(name: str) -> np.dtype[Any]:
    return np.dtype("uint8" if name == "bool" else name)


def pack(pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Colours as numbers.

    >>> pack(np.array([[[1, 2, 3]]], np.uint8))
    array([[66051]])
    """
    return np.asarray(pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]))


def mapped(values: NDArray[Any], table: Mapping[int, int]) -> tuple[NDArray[np.int64], dict[int, int]]:
    """Every value by a table; and the values that it does not have, with how many pixels hold them.

    >>> mapped(np.array([7, 8, 7, 3]), {7: 0, 8: 1})
    (array([0, 1, 0, 0]), {3: 1})
    """
    keys = np.array(sorted(table), np.int64)
    place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    strange = values[keys[place] != values]
    found, counts = np.unique(strange, return_counts=True)
    targets = np.array([table[key] for key in keys.tolist()], np.int64)
    unknown = dict(zip(found.tolist(), counts.tolist(), strict=True))
    return targets[place], dict(sorted(unknown.items(), key=lambda item: -item[1]))


def color_table(colors: Mapping[int, Sequence[Color]]) -> dict[Color, int]:
    """Colour -> label, out of the colours of each label.

    Raises:
        ConfigError: two labels have one colour.
    """
    table: dict[Color, int] = {}
    for label, shades in colors.items():
        for color in shades:
            if table.setdefault(color, label) != label:
                message = f"colors: the labels {table[color]} and {label} have one colour, {list(color)}"
                raise ConfigError(message)
    return table


def file_problem(file: str, image: str, found: str, expected: str = "", advice: str = "") -> Problem:
    """Something that is wrong with a file."""
    return Problem(kind="file", found=found, expected=expected, store=file, image=image, advice=advice)


def _counted(what: str, found: Mapping[str, int]) -> str:
    if not found:
        return ""
    shown = [f"{value} ({count} px)" for value, count in list(found.items())[:SHOWN]]
    return f"the {what} {first_of(shown, len(found))}"


def _color(packed: int) -> Color:
    return packed >> 16, packed >> 8 & 255, packed & 255
