"""What stores that are asked over the network have in common: objects in parts, and their tags."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any

from segpipe.errors import ConfigError
from segpipe.sources.storage import Blob, ObjectInfo, check_key, content_hashed, open_storage
from segpipe.sources.stores.requests import NoSuchObjectError, RangeError, Requests, WholeOnlyError

UNKNOWN_NS = 2**62
"""The time of an object that tells none: in the future, so that nothing relies on its tag."""


class RemoteStorage(ABC):
    """Objects that obstore gets from a service. Pickled as its address: secrets stay in the process."""

    requests_at_once = 16
    """So many chunks of a window are asked for at the same time; see `fetching`."""

    def __init__(self, url: str, store: Any, folder: str, requests: Requests) -> None:
        self.url = url
        self._store, self._folder, self._requests = store, folder, requests
        self._obstore = load_obstore(url)
        self._parts = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return open_storage, (self.url,)

    @abstractmethod
    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """See `Storage.list`."""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        """See `Storage.get`; one request, but for parts that lie beyond the end."""
        path = self._path(key)
        try:
            if start >= 0 and stop is not None and stop <= start:
                return Blob(b"", self._head(path, key))
            if (start, stop) == (0, None) or not self._parts:
                return self._cut(self._send(path, key, None), start, stop)
            return self._part(path, key, start, stop)
        except NoSuchObjectError:
            return None

    def _part(self, path: str, key: str, start: int, stop: int | None) -> Blob:
        wanted: Any = (
            {"suffix": -start} if start < 0 else {"offset": start} if stop is None else (start, stop)
        )
        try:
            blob = self._send(path, key, wanted)
        except RangeError:
            return Blob(b"", self._head(path, key))
        except WholeOnlyError:
            # The whole of an empty object is the right answer; of another one, this service knows no parts.
            blob = self._send(path, key, None)
            self._parts = blob.info.size == 0
            return self._cut(blob, start, stop)
        if start < 0 and stop is not None:
            first = blob.info.size - len(blob.data)
            return Blob(blob.data[: max(0, stop - first)], blob.info)
        return blob

    def _send(self, path: str, key: str, wanted: Any) -> Blob:
        def attempt() -> Blob:
            result = self._obstore.get(self._store, path, options={"range": wanted} if wanted else None)
            data = bytes(result.bytes())
            first, last = result.range
            if len(data) != last - first:
                message = f"{len(data)} of {last - first} bytes"
                raise OSError(message)
            return Blob(data, self._info_of(result.meta))

        return self._requests.send(attempt, key)

    def _cut(self, blob: Blob, start: int, stop: int | None) -> Blob:
        return Blob(blob.data[start:stop], blob.info)

    def _head(self, path: str, key: str) -> ObjectInfo:
        return self._requests.send(lambda: self._info_of(self._obstore.head(self._store, path)), key)

    def _info_of(self, meta: Any) -> ObjectInfo:
        return info_of(meta)

    def _reliable(self, found: dict[str, ObjectInfo]) -> dict[str, ObjectInfo]:
        """The same, with the content of objects hashed whose tag does not tell one write from the next."""
        vague = [key for key, info in found.items() if info.modified_ns == UNKNOWN_NS]
        return content_hashed(self, found, vague) if vague else found

    def _path(self, key: str) -> str:
        check_key(self.url, key)
        return f"{self._folder}/{key}" if self._folder else key


def load_obstore(url: str) -> Any:
    """The library that speaks to services.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import obstore
    except ImportError:
        message = f"{url}: stores of this kind need the package obstore; pip install 'segpipe[cloud]'"
        raise ConfigError(message) from None
    return obstore


def info_of(meta: Any) -> ObjectInfo:
    """What a service tells of an object: by its ETag, or else by the time of the last change.

    Times are whole seconds, as the answer to a single request tells them (a listing may tell more). An
    object of which neither is told has no tag and a time in the future: it must be known by its content.
    """
    modified: datetime = meta["last_modified"]
    seconds = int(modified.timestamp())
    tag = meta["e_tag"] or (str(seconds) if seconds > 0 else "")
    return ObjectInfo(meta["size"], tag, seconds * 10**9 if tag else UNKNOWN_NS)
