"""Which images of truth an evaluation asks for; a selection leaves keys and cuts of buckets as they are."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.config import EvaluationConfig, SelectConfig
from segpipe.errors import ConfigError, InputError, Problem
from segpipe.planning.alignment import Alignment
from segpipe.planning.buckets import Cut
from segpipe.planning.inventory import Inventory
from segpipe.query import Query
from segpipe.sources.tables import join_table

MAX_IDS_BYTES = 1 << 30
"""Of a file that lists ids."""


@dataclass(frozen=True)
class Whole:
    """What a selection was taken from, so that counts of whole buckets can be used again.

    Attributes:
        alignment: of all images.
        cut: its buckets.
        bucket: int64 (bucket,); for each bucket of the selection the bucket of all images it is a part of.
    """

    alignment: Alignment
    cut: Cut
    bucket: NDArray[np.int64]


def wanted_images(inventory: Inventory, config: EvaluationConfig) -> NDArray[np.bool_]:
    """Which images of truth are selected, bool (image,); all of them without `select`.

    Raises:
        ConfigError: the condition names no column, or no image is selected.
        InputError: ids are listed that truth does not have.
    """
    truth = inventory.truth
    ids = truth.ids if truth.ids is not None else [str(index) for index in range(len(truth))]
    select = config.select
    if select is None:
        return np.ones(len(ids), np.bool_)
    wanted = np.ones(len(ids), np.bool_) if select.ids is None else _listed(select, ids, truth.store)
    if select.where is not None:
        columns = dict(truth.columns)
        if config.image_table is not None:
            columns |= join_table(config.image_table, ids)
        wanted &= _meeting(select.where, ids, columns)
    chosen = np.flatnonzero(wanted)
    if select.first is not None:
        chosen = chosen[: select.first]
    elif select.random is not None:
        chosen = _drawn(chosen, ids, select.random, select.seed)
    if not len(chosen):
        message = f"select: none of the {len(ids)} images of truth is selected ({select.words()})"
        raise ConfigError(message)
    wanted[:] = False
    wanted[chosen] = True
    return wanted


def _listed(select: SelectConfig, ids: list[str], store: str) -> NDArray[np.bool_]:
    names = _read_ids(Path(select.ids)) if isinstance(select.ids, str) else select.ids or ()
    asked = set(names)
    unknown = asked.difference(ids)
    if unknown:
        source = f" ({select.ids})" if isinstance(select.ids, str) else ""
        advice = "list ids as truth has them; `segpipe inspect` shows some"
        raise InputError(
            Problem(
                kind="selected image",
                side="truth",
                store=store,
                image=name,
                found=f"an id in select.ids{source} that truth does not have",
                advice=advice,
            )
            for name in dict.fromkeys(names)
            if name in unknown
        )
    return np.array([name in asked for name in ids], np.bool_)


def _read_ids(path: Path) -> list[str]:
    """The lines of a text file; blank ones are passed over."""
    try:
        if not path.is_file() and path.exists():
            message = f"select.ids: {path} is no file"
            raise ConfigError(message)
        if path.stat().st_size > MAX_IDS_BYTES:
            message = f"select.ids: {path} has {path.stat().st_size} bytes; at most {MAX_IDS_BYTES} are read"
            raise ConfigError(message)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        # ValueError is what Python says of a NUL in the path, or of bytes that are no UTF-8.
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        message = f"select.ids: {path} cannot be read ({reason}); name a text file with one id on each line"
        raise ConfigError(message) from None
    return [line.strip() for line in lines if line.strip()]


def _meeting(where: str, ids: list[str], columns: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    try:
        return Query(where).matches({"id": np.array(ids, object), **columns})
    except ConfigError as error:
        message = f"select.where: {error}"
        raise ConfigError(message) from None


def _drawn(chosen: NDArray[np.int64], ids: list[str], number: int, seed: int) -> NDArray[np.int64]:
    """Some images at random: those of the smallest hashes of seed and id, whatever the order of the store."""
    ranks = [blake2b(f"{seed}:{ids[index]}".encode(), digest_size=16).digest() for index in chosen]
    order = sorted(range(len(chosen)), key=ranks.__getitem__)[:number]
    return chosen[np.sort(np.array(order, np.int64))]


def select_from(whole: Alignment, cut: Cut, wanted: NDArray[np.bool_]) -> tuple[Alignment, Cut, Whole | None]:
    """The selected part of all images, and of their buckets those that hold some of it.

    Args:
        whole: all images.
        cut: their buckets.
        wanted: bool (image of truth,).
    """
    chosen = np.flatnonzero(wanted[whole.truth])
    if len(chosen) == len(whole.truth):
        return whole, cut, None
    bucket = np.searchsorted(cut.starts, chosen, side="right") - 1
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    part = Alignment(
        ids=[whole.ids[index] for index in chosen],
        truth=whole.truth[chosen],
        pred=whole.pred[chosen],
        by=whole.by,
        left_out=whole.left_out,
    )
    starts = np.concatenate([first, [len(chosen)]]).astype(np.int64)
    return part, Cut(starts, cut.window_images), Whole(whole, cut, bucket[first])
