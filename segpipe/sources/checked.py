"""Reading only what the inventory saw: an object that changed, vanished or appeared is an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.array import AsyncArray
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import StorePath

from segpipe.errors import InputChangedError
from segpipe.sources.documents import zarr_metadata
from segpipe.sources.metadata import ArrayMeta, join
from segpipe.sources.storage import ObjectInfo, Storage, changed_problem, is_young, read_listed


class ExpectedObjects:
    """The objects of one array by chunk key, each held against what the inventory saw.

    Args:
        storage: where they lie.
        path: the array within the store.
        expected: chunk key, relative to the array -> what the inventory saw; None: no such object.
        most_bytes: of an object that are read at once; None: its size was looked at before.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        expected: Mapping[str, ObjectInfo | None],
        most_bytes: int | None = None,
    ) -> None:
        self.storage, self.path, self.expected, self.most_bytes = storage, path, expected, most_bytes
        self._verified: dict[str, ObjectInfo] = {}

    def listed(self, chunk_key: str) -> ObjectInfo | None:
        """What the inventory saw of a chunk; None: it is absent.

        Raises:
            ValueError: the reader was not told; a mistake of the caller.
        """
        try:
            return self.expected[chunk_key]
        except KeyError:
            message = f"{chunk_key} of {self.path}: the reader was not told what to expect there"
            raise ValueError(message) from None

    def get(self, chunk_key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Bytes `start:stop` of a chunk's object, as `Storage.get`; None: absent, as expected.

        Raises:
            InputChangedError: the object is not what the inventory saw.
            EOFError: the object is empty; zarr-python would take an empty shard for a missing one.
            ValueError: it is far larger than a chunk.
            OSError: it cannot be read.
        """
        listed = self.listed(chunk_key)
        if listed is not None and self.most_bytes is not None:
            _check_size(listed, start, stop, self.most_bytes)
        if listed is not None and listed.content:
            return _part(self._verified_bytes(chunk_key, listed, start, stop), chunk_key)
        blob = self.storage.get(join(self.path, chunk_key), start, stop)
        if listed is None:
            if blob is not None:
                raise self._changed(chunk_key, "an object that was not there")
            return None
        if blob is None:
            raise self._changed(chunk_key, "it vanished")
        if blob.info != listed and blob.info.fingerprint != listed.fingerprint:
            raise self._changed(chunk_key, "it was written again")
        return _part(blob.data, chunk_key)

    def _verified_bytes(self, chunk_key: str, listed: ObjectInfo, start: int, stop: int | None) -> bytes:
        """Part of an object that is known by the hash of its bytes.

        The hash is taken once; afterwards the tag will do, unless it is too young to be relied upon.
        """
        key = join(self.path, chunk_key)
        if chunk_key in self._verified:
            blob = self.storage.get(key, start, stop)
            if blob is not None and blob.info == self._verified[chunk_key]:
                return blob.data
        whole = read_listed(self.storage, key, listed, self.path, chunk_key)
        if not is_young(whole.info):
            self._verified[chunk_key] = whole.info
        return whole.data[start:stop]

    def _changed(self, chunk_key: str, found: str) -> InputChangedError:
        return InputChangedError(changed_problem(self.storage.url, chunk_key, found, self.path))


class CheckedStore(Store):
    """`ExpectedObjects` as a read-only store of zarr-python; it has chunks only, no metadata."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, objects: ExpectedObjects) -> None:
        super().__init__(read_only=True)
        self._objects = objects

    def __eq__(self, other: object) -> bool:
        return self is other

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of a chunk; None if it is absent and was absent."""
        data = await asyncio.to_thread(self._objects.get, key, *_bounds(byte_range))
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Several parts, one after the other."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether the inventory saw the object."""
        return self._objects.expected.get(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refused: segpipe writes to no store that it evaluates."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refused, as `set`."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """The keys that the inventory saw."""
        for key, info in self._objects.expected.items():
            if info is not None:
                yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """The keys that the inventory saw and that begin with a prefix."""
        async for key in self.list():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below a prefix."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        names = [key.removeprefix(folder).split("/")[0] async for key in self.list_prefix(folder)]
        for name in dict.fromkeys(names):
            yield name


def open_checked(meta: ArrayMeta, objects: ExpectedObjects) -> zarr.Array[Any]:
    """The array as zarr-python reads it, from metadata that are at hand: no document is read again."""
    metadata = zarr_metadata(meta.document, meta.shape)
    return zarr.Array(AsyncArray(metadata=metadata, store_path=StorePath(CheckedStore(objects))))


def _bounds(byte_range: ByteRequest | None) -> tuple[int, int | None]:
    match byte_range:
        case RangeByteRequest(start, end):
            return start, end
        case OffsetByteRequest(offset):
            return offset, None
        case SuffixByteRequest(suffix):
            return -suffix, None
    return 0, None


def _check_size(listed: ObjectInfo, start: int, stop: int | None, most_bytes: int) -> None:
    """Refuse to hold more than a chunk can take, whatever lies there; one known by its hash is read whole."""
    first = start if start >= 0 else max(0, listed.size + start)
    last = listed.size if stop is None else min(stop, listed.size)
    size = listed.size if listed.content else last - first
    if size > most_bytes:
        message = f"{size:,} bytes stored, and a chunk of this array takes at most {most_bytes:,}"
        raise ValueError(message)


def _part(data: bytes, chunk_key: str) -> bytes:
    if not data:
        message = f"no bytes in {chunk_key}"
        raise EOFError(message)
    return data
