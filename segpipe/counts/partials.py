"""Partial counts on disk: one file per bucket, named by its key, shared by all runs.

A file's bytes are a function of its key: no time, host or writer is in it. So whoever writes last writes the
same, and two runs may share the store without a lock.
"""

from __future__ import annotations

import json
import os
import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import cycle
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from segpipe.errors import InfrastructureError
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.positions import InvalidValue, InvalidValues
from segpipe.kernels.weighted import WrongWeights
from segpipe.statistics.base import Counts, joined
from segpipe.statistics.confusion import MATRICES, ImageCounts

MAGIC = b"segpipe1"
_DIGEST_BYTES = 32
_DTYPES = {"offsets": "<i8", "cells": "<u4", "counts": "<i8"}


class DamagedPartialError(Exception):
    """The bytes of a partial are not what was written; it counts as absent."""


@dataclass(frozen=True)
class Partial:
    """The counts of the images of a bucket, or of those of its images that could be counted."""

    ids: tuple[str, ...]
    counts: ImageCounts

    def take(self, ids: Sequence[str]) -> Partial:
        """Some of the images, in the order given."""
        return Partial(tuple(ids), self.counts.take(_places(self.ids, ids)))

    @classmethod
    def concatenate(cls, parts: Sequence[Partial]) -> Partial:
        """The images of several parts, one after the other; at least one part."""
        return cls(_all_ids(parts), ImageCounts.concatenate([part.counts for part in parts]))


@dataclass(frozen=True)
class StatisticPartial:
    """The same of a further statistic: its sums for each image."""

    ids: tuple[str, ...]
    counts: Counts

    def take(self, ids: Sequence[str]) -> StatisticPartial:
        """Some of the images, in the order given."""
        places = _places(self.ids, ids)
        return StatisticPartial(tuple(ids), {name: values[places] for name, values in self.counts.items()})

    @classmethod
    def concatenate(cls, parts: Sequence[StatisticPartial]) -> StatisticPartial:
        """The images of several parts, one after the other; at least one part."""
        return cls(_all_ids(parts), joined([part.counts for part in parts]))


AnyPartial = TypeVar("AnyPartial", Partial, StatisticPartial)


def _places(ids: Sequence[str], wanted: Sequence[str]) -> list[int]:
    place = {name: image for image, name in enumerate(ids)}
    return [place[name] for name in wanted]


def _all_ids(parts: Sequence[Partial] | Sequence[StatisticPartial]) -> tuple[str, ...]:
    return tuple(name for part in parts for name in part.ids)


def encode(partial: Partial | StatisticPartial, name: str) -> bytes:
    """The bytes of a partial: magic, checksum, header, compressed arrays."""
    header, arrays = _plain(partial) if isinstance(partial, Partial) else _plain_sums(partial)
    header |= {"name": name, "ids": partial.ids}
    head = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    payload: bytes = Zstd(level=3).encode(b"".join(values.tobytes() for values in arrays))
    body = struct.pack("<I", len(head)) + head + payload
    return MAGIC + blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def _plain_sums(partial: StatisticPartial) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """The names and shapes of its fields for the header, and its arrays."""
    shapes = [[name, values.shape[1:]] for name, values in partial.counts.items()]
    return {"fields": shapes}, [np.ascontiguousarray(one, "<i8") for one in partial.counts.values()]


def _plain(partial: Partial) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """What the header says of a partial, and its arrays.

    Where pixels have weights, the weighted matrices follow the others, and the header says so.
    """
    counts = partial.counts
    arrays = _arrays(counts)
    header: dict[str, Any] = {
        "num_classes": counts.cells.num_classes,
        "invalid": [[image, asdict(values)] for image, values in counts.invalid],
    }
    if counts.weighted is not None:
        arrays += _arrays(counts.weighted)
        header["wrong_weights"] = [[image, asdict(wrong)] for image, wrong in counts.wrong_weights]
    header["lengths"] = list(map(len, arrays))
    return header, arrays


def decode(data: bytes, name: str, kind: type[AnyPartial]) -> AnyPartial:
    """The partial in some bytes.

    Raises:
        DamagedPartialError: they are not a whole partial of this name.
    """
    start = len(MAGIC) + _DIGEST_BYTES
    body = data[start:]
    digest = blake2b(body, digest_size=_DIGEST_BYTES).digest()
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : start] != digest:
        raise DamagedPartialError(name)
    (length,) = struct.unpack_from("<I", body)
    header = json.loads(body[4 : 4 + length])
    if header["name"] != name:
        raise DamagedPartialError(name)
    payload = Zstd().decode(body[4 + length :])
    ids = tuple(header["ids"])
    found = (
        StatisticPartial(ids, _sums(header, payload))
        if "fields" in header
        else Partial(ids, _matrices(header, payload))
    )
    if not isinstance(found, kind):
        raise DamagedPartialError(name)
    return found


def _sums(header: dict[str, Any], payload: bytes) -> Counts:
    """The arrays of a further statistic."""
    counts, start = {}, 0
    for name, shape in header["fields"]:
        size = len(header["ids"]) * prod(shape)
        counts[name] = np.frombuffer(payload, "<i8", size, start).reshape(-1, *shape)
        start += 8 * size
    return counts


def _matrices(header: dict[str, Any], payload: bytes) -> ImageCounts:
    arrays = iter(_split(payload, header["lengths"]))
    counts = _counts(header["num_classes"], arrays)
    counts = replace(
        counts, invalid=tuple((image, _invalid_values(values)) for image, values in header["invalid"])
    )
    if "wrong_weights" in header:
        wrong = tuple((image, _wrong_weights(plain)) for image, plain in header["wrong_weights"])
        counts = replace(counts, weighted=_counts(header["num_classes"], arrays), wrong_weights=wrong)
    return counts


def _arrays(counts: ImageCounts) -> list[NDArray[Any]]:
    """The arrays of its matrices, as they are stored."""
    return [
        np.ascontiguousarray(getattr(getattr(counts, part), field), dtype)
        for part in MATRICES
        for field, dtype in _DTYPES.items()
    ]


def _counts(num_classes: int, arrays: Iterator[NDArray[Any]]) -> ImageCounts:
    """The matrices in the arrays that follow."""
    return ImageCounts.of(ConfusionCells(num_classes, *(next(arrays) for _ in _DTYPES)) for _ in MATRICES)


def _wrong_weights(plain: dict[str, Any]) -> WrongWeights:
    return WrongWeights(plain["value"], tuple(plain["position"]), plain["pixels"])


def _invalid_values(plain: dict[str, list[dict[str, Any]]]) -> InvalidValues:
    sides = (
        tuple(InvalidValue(item["value"], tuple(item["position"]), item["pixels"]) for item in plain[side])
        for side in ("truth", "pred")
    )
    return InvalidValues(*sides)


def _split(payload: bytes, lengths: Sequence[int]) -> list[NDArray[Any]]:
    arrays, start = [], 0
    for length, dtype in zip(lengths, cycle(_DTYPES.values()), strict=False):
        arrays.append(np.frombuffer(payload, dtype, length, start))
        start += arrays[-1].nbytes
    return arrays


def same_counts(one: Partial | StatisticPartial, other: Partial | StatisticPartial) -> bool:
    """Whether the counts are the same; another version of the codec may write other bytes for them."""
    return encode(one, "") == encode(other, "")


@dataclass(frozen=True)
class PartialStore:
    """Partials in a folder, by key, spread over 256 folders."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the partial of a key lies."""
        return self.folder / key[:2] / key

    def __contains__(self, key: str) -> bool:
        return self.path(key).exists()

    def has(self, key: str, whole_key: str = "") -> bool:
        """Whether there is a partial of a key, or of the larger bucket that its images are from."""
        return key in self or (whole_key != "" and whole_key in self)

    def read(self, key: str) -> Partial | None:
        """The partial of a key; None if there is none, or none that is whole."""
        return self.read_as(Partial, key)

    def read_as(self, kind: type[AnyPartial], key: str) -> AnyPartial | None:
        """The same of any kind. A damaged one is as good as none, and is taken away."""
        try:
            return decode(self.path(key).read_bytes(), key, kind)
        except FileNotFoundError:
            return None
        except DamagedPartialError:
            self.path(key).unlink(missing_ok=True)
            return None

    def holds_other(self, partial: Partial | StatisticPartial, key: str, whole_key: str = "") -> bool:
        """Whether a partial of a key, or of the larger bucket, is there with other counts than these."""
        kind: type[Any] = type(partial)
        old = self.read_as(kind, key)
        if old is None and whole_key:
            larger = self.read_as(kind, whole_key)
            old = larger and larger.take(partial.ids)
        return old is not None and not same_counts(old, partial)

    def write(self, key: str, partial: Partial | StatisticPartial) -> None:
        """Write a partial whole or not at all."""
        write_atomically(self.path(key), encode(partial, key))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = (
            f"{path}: cannot be written ({error.strerror}); make room or choose another folder for results"
        )
        raise InfrastructureError(message) from None
