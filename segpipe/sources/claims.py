"""What metadata claim, held against what is stored: no memory is taken for pixels that nobody wrote."""

from __future__ import annotations

from math import prod

from segpipe.errors import Problem
from segpipe.sources.metadata import ArrayMeta, StoreView

MAX_IMAGES = 100_000_000
"""The longest first dimension that is taken for images; their ids and sizes are held in memory."""

MANY_CHUNKS = 1_000_000
"""An array that claims more storage units than this must have stored one in `LEAST_STORED` of them."""

LEAST_STORED = 100


def claim_problems(view: StoreView, meta: ArrayMeta) -> list[Problem]:
    """Why an array's shape cannot be believed, whatever is declared of absent chunks.

    A plan goes through every storage unit by name, so a shape that was changed in the metadata alone must
    not decide how much memory that takes.
    """
    if len(meta.label_shape) == 3 and meta.label_shape[0] > MAX_IMAGES:
        found, expected = f"{meta.label_shape[0]:,} images", f"at most {MAX_IMAGES:,}"
        return [_problem(view, meta, found, expected)]
    chunks = prod(meta.grid)
    if chunks <= MANY_CHUNKS:
        return []
    prefix = f"{meta.path}/" if meta.path else ""
    stored = sum(key.startswith(prefix) for key in view.objects)
    if chunks <= LEAST_STORED * stored:
        return []
    found = f"shape {meta.shape}, which takes {chunks:,} chunks, and {stored:,} objects stored"
    return [_problem(view, meta, found, f"at least one chunk in {LEAST_STORED}")]


def _problem(view: StoreView, meta: ArrayMeta, found: str, expected: str) -> Problem:
    return Problem(
        kind="shape",
        found=found,
        expected=expected,
        store=view.storage.url,
        array=meta.path,
        advice="set the shape in the metadata to what was written",
    )
