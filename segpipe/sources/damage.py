"""Chunks that are there and cannot be read: what kind of damage it is, in words."""

from __future__ import annotations

from collections.abc import Sequence

from segpipe.errors import EXIT_INCOMPLETE, Problem, SegpipeError, problem_list
from segpipe.sources.boxes import Box
from segpipe.sources.metadata import ArrayMeta

DAMAGE_ADVICE = "write the chunk again from its source, or let its images be left out"


class DamagedChunkError(SegpipeError):
    """Chunks that are there and cannot be read.

    `problems` names each; `regions` tells, in the same order, which part of the box it would have filled,
    counted from the corner of the box.
    """

    exit_code = EXIT_INCOMPLETE

    def __init__(self, problems: Sequence[Problem], regions: Sequence[Box]) -> None:
        self.problems, self.regions = list(problems), list(regions)
        super().__init__(problem_list(self.problems))

    def __reduce__(self) -> tuple[type[DamagedChunkError], tuple[list[Problem], list[Box]]]:
        return type(self), (self.problems, self.regions)


def damage_problem(meta: ArrayMeta, store: str, chunk: str, failure: Exception) -> Problem:
    """Why a chunk of an array cannot be read; `chunk` is its key, with the place of an inner chunk."""
    kind, found = _words(failure)
    unit = meta.inner_chunks or meta.chunks
    return Problem(
        kind=kind,
        found=found,
        expected=f"a chunk of shape {unit}, {meta.dtype}",
        store=store,
        array=meta.path,
        chunk=chunk,
        advice=DAMAGE_ADVICE,
    )


def inner_words(place: Sequence[int]) -> str:
    """What follows the key of a shard where one of its inner chunks is meant.

    >>> inner_words((0, 3))
    ' (inner chunk 0, 3)'
    """
    return f" (inner chunk {', '.join(map(str, place))})"


def _words(failure: Exception) -> tuple[str, str]:
    """The kind of damage, and what was found."""
    reason = f"{type(failure).__name__}: {str(failure).strip().split(chr(10))[0]}"
    if isinstance(failure, EOFError):
        return "truncated", f"an object that ends too early ({reason})"
    if isinstance(failure, OSError):
        return "unreadable", f"an object that cannot be read ({reason})"
    if "checksum" in reason.lower():
        return "checksum", f"a wrong checksum ({reason})"
    return "decode", f"bytes that cannot be decoded ({reason})"
