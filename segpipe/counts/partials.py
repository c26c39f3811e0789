"""Partial counts on disk: one file per bucket, named by its key, shared by all runs.

A file's bytes are a function of its key: no time, host or writer is in it. So whoever writes last writes the
same, and two runs may share the store without a lock.
"""

from __future__ import annotations

import json
import os
import struct
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from segpipe.errors import InfrastructureError
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.positions import InvalidValue, InvalidValues
from segpipe.statistics.confusion import ImageCounts

MAGIC = b"segpipe1"
_DIGEST_BYTES = 32
_PARTS = ("cells", "absent_truth", "absent_pred", "absent_both")
_DTYPES = {"offsets": "<i8", "cells": "<u4", "counts": "<i8"}


class DamagedPartialError(Exception):
    """The bytes of a partial are not what was written; it counts as absent."""


@dataclass(frozen=True)
class Partial:
    """The counts of the images of a bucket, or of those of its images that could be counted."""

    ids: tuple[str, ...]
    counts: ImageCounts


def encode(partial: Partial, name: str) -> bytes:
    """The bytes of a partial: magic, checksum, header, compressed arrays."""
    arrays = [
        (part, field, np.ascontiguousarray(getattr(getattr(partial.counts, part), field), _DTYPES[field]))
        for part in _PARTS
        for field in _DTYPES
    ]
    header = {
        "name": name,
        "num_classes": partial.counts.cells.num_classes,
        "ids": partial.ids,
        "lengths": [len(values) for _, _, values in arrays],
        "invalid": [[image, asdict(values)] for image, values in partial.counts.invalid],
    }
    head = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    payload: bytes = Zstd(level=3).encode(b"".join(values.tobytes() for _, _, values in arrays))
    body = struct.pack("<I", len(head)) + head + payload
    return MAGIC + blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def decode(data: bytes, name: str) -> Partial:
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
    arrays = iter(_split(Zstd().decode(body[4 + length :]), header["lengths"]))
    cells, absent_truth, absent_pred, absent_both = (
        ConfusionCells(header["num_classes"], *(next(arrays) for _ in _DTYPES)) for _ in _PARTS
    )
    invalid = tuple((image, _invalid_values(values)) for image, values in header["invalid"])
    return Partial(tuple(header["ids"]), ImageCounts(cells, absent_truth, absent_pred, absent_both, invalid))


def _invalid_values(plain: dict[str, list[dict[str, Any]]]) -> InvalidValues:
    sides = (
        tuple(InvalidValue(item["value"], tuple(item["position"]), item["pixels"]) for item in plain[side])
        for side in ("truth", "pred")
    )
    return InvalidValues(*sides)


def _split(payload: bytes, lengths: Sequence[int]) -> list[NDArray[Any]]:
    arrays, start = [], 0
    for length, dtype in zip(lengths, list(_DTYPES.values()) * len(_PARTS), strict=True):
        arrays.append(np.frombuffer(payload, dtype, length, start))
        start += arrays[-1].nbytes
    return arrays


@dataclass(frozen=True)
class PartialStore:
    """Partials in a folder, by key, spread over 256 folders."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the partial of a key lies."""
        return self.folder / key[:2] / key

    def __contains__(self, key: str) -> bool:
        return self.path(key).exists()

    def read(self, key: str) -> Partial | None:
        """The partial of a key; None if there is none, or none that is whole."""
        try:
            return decode(self.path(key).read_bytes(), key)
        except (FileNotFoundError, DamagedPartialError):
            return None

    def write(self, key: str, partial: Partial) -> None:
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
