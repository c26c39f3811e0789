"""Bytes by key: where the objects of a store lie, and how one knows that they are still the same."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import blake2b
from itertools import islice
from typing import Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from segpipe.errors import InputChangedError, InputError, Problem
from segpipe.registry import Registry

RACY_S = 2.0
"""An object written less than this many seconds ago could be written again without its tag changing."""

HASH_THREADS = 4
"""How many objects are read at once to be hashed; hashing lets go of the interpreter's lock."""

HASHED_AT_ONCE_BYTES = 64 << 20
"""Of an object, by each of these."""

OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
"""Without O_NONBLOCK a pipe in place of a chunk would wait for a writer for ever."""

NEIGHBOURS = 1000
"""Folders that are looked at for the one that may have been meant."""

NO_NAMES = frozenset(("", ".", ".."))
"""What no file can be called."""

LINK_ADVICE = (
    "a store is read without leaving its folder: copy the data into it, or open the store that they lie in"
)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without decoding it.

    `tag` changes when the object is written again (local files: mtime, ctime and inode). `modified_ns` is
    the time of the last change, nanoseconds since 1970. `content` is the hash of the bytes in hex where it
    was taken, else empty.

    >>> ObjectInfo(4, "t1", 0).fingerprint, ObjectInfo(4, "t1", 0, "ab12").fingerprint
    ('4:t1', 'content:ab12')
    """

    size: int
    tag: str
    modified_ns: int
    content: str = ""

    @property
    def fingerprint(self) -> str:
        """The identity of the object's bytes, as it enters the key of partial counts."""
        return f"content:{self.content}" if self.content else f"{self.size}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of an object, whole or part, and the info of the very object that they were read from."""

    data: bytes
    info: ObjectInfo


class Storage(Protocol):
    """Where objects lie. What every storage must do is tested by `tests/sources/conformance.py`."""

    @property
    def url(self) -> str:
        """The address: printable, without secrets, and good for `open_storage` on another machine."""

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """All objects below a folder, in one recursive listing, in no particular order.

        Keys are relative to the root of the store, whatever the prefix. A tag that is returned can be
        relied upon: an object that was being written has its content hashed instead.

        Raises:
            InputError: something cannot be listed; every such place is named.
        """

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        """Bytes `start:stop` of an object, as a slice takes them (a negative start counts from the end).

        Returns:
            The bytes and the info of the object they are from; None if there is no such object.

        Raises:
            InputChangedError: the object was written while it was read.
            OSError: it is there and cannot be read.
        """


@runtime_checkable
class AskingStorage(Storage, Protocol):
    """A storage that cannot be listed (`list` raises): whoever knows names asks for them."""

    def ask(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """Which of some objects there are, with tags that can be relied upon, as from `list`."""


@runtime_checkable
class NamingStorage(Storage, Protocol):
    """A storage that tells the names in one of its folders without listing what is below them."""

    def names_in(self, folder: str) -> Sequence[str]:
        """The names of the folders and objects in a folder, sorted; none if there is no such folder."""


STORES: Registry[Callable[[str], Storage]] = Registry(
    "store",
    (
        __name__,
        "segpipe.sources.stores.http",
        "segpipe.sources.stores.s3",
        "segpipe.sources.stores.zipped",
    ),
)
"""URL scheme -> function that opens such a URL."""


def open_storage(url: str) -> Storage:
    """The storage behind an address: a local path, or a URL whose scheme is registered.

    A path that ends with .zip and is a file is an archive, as if it began with `zip://`.

    Raises:
        ConfigError: no storage is known for the scheme.
        InputError: the store is missing, is no folder, or must not be read.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme = "zip" if url.endswith(".zip") and os.path.isfile(os.path.expanduser(url)) else "file"
    return STORES[scheme](url)


class LocalStorage:
    """A folder of this machine; `/` in a key goes down one folder.

    Links are followed only within the folder. A folder, socket or pipe is no object.
    """

    def __init__(self, folder: str) -> None:
        self.url = os.path.abspath(folder)
        self._root = os.path.realpath(folder)
        found = _folder_fault(self._root)
        if found:
            raise InputError(
                Problem(
                    kind="store",
                    found=found,
                    expected="a folder that holds a Zarr store",
                    store=self.url,
                    advice=_near(self.url),
                )
            )

    def __repr__(self) -> str:
        return f"LocalStorage({self.url!r})"

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """See `Storage.list`. Waits once, at most RACY_S, if objects were written just now."""
        found = _Scan(self._root, self.url).below(prefix.strip("/"))
        settled_ns = time.time_ns() - int(RACY_S * 1e9)
        young = [key for key, info in found.items() if info.modified_ns > settled_ns]
        if not young:
            return found
        wait_for(found[key] for key in young)
        for key in young:
            info = self._info(key)
            if info is None:
                del found[key]
            else:
                found[key] = info
        return content_hashed(self, found, [key for key in young if key in found and is_young(found[key])])

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        """See `Storage.get`."""
        try:
            handle = self._open(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                return None
            first = start if start >= 0 else max(0, before.st_size + start)
            last = before.st_size if stop is None else min(stop, before.st_size)
            data = _read(handle, first, max(0, last - first))
            if _identity(os.fstat(handle)) != _identity(before):
                raise InputChangedError(changed_problem(self.url, key, "it was written while it was read"))
            return Blob(data, _info_of(before))
        finally:
            os.close(handle)

    def names_in(self, folder: str) -> Sequence[str]:
        """See `NamingStorage.names_in`. A link that leads out of the store is no name in it."""
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                inside = [
                    entry.name
                    for entry in entries
                    if not entry.is_symlink() or _is_inside(self._root, os.path.realpath(entry.path))
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            found = f"the folder {folder or '.'!r} cannot be listed ({error.strerror})"
            raise InputError(Problem(kind="store", found=found, store=self.url)) from None
        return sorted(inside)

    def _open(self, key: str) -> int:
        """A handle to read a key's file. Where it lies is told by the system, or else link by link."""
        check_key(self.url, key)
        try:
            handle = os.open(f"{self._root}/{key}", OPEN_FLAGS)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return os.open(self._path(key), OPEN_FLAGS)
        opened = _place_of(handle)
        if opened is not None and _is_inside(self._root, opened):
            return handle
        os.close(handle)
        return os.open(self._path(key), OPEN_FLAGS)

    def _path(self, key: str) -> str:
        """The file of a key, every link resolved; a key that leads out of the folder is refused."""
        check_key(self.url, key)
        path = os.path.realpath(f"{self._root}/{key}")
        if not _is_inside(self._root, path):
            raise InputError(_link_problem(self.url, key))
        return path

    def _info(self, key: str) -> ObjectInfo | None:
        try:
            status = os.stat(self._path(key), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info_of(status) if stat.S_ISREG(status.st_mode) else None


class _Scan:
    """One recursive listing of a folder: what was found, and what could not be listed."""

    def __init__(self, root: str, url: str) -> None:
        self._root, self._url = root, url
        self._pending: list[str] = []
        self.found: dict[str, ObjectInfo] = {}
        self.problems: list[Problem] = []

    def below(self, prefix: str) -> dict[str, ObjectInfo]:
        """Every object below a folder of the store, with the tags of this moment."""
        self._pending = [f"{prefix}/" if prefix else ""]
        while self._pending:
            folder = self._pending.pop()
            try:
                with os.scandir(f"{self._root}/{folder}") as entries:
                    for entry in entries:
                        self._file(folder + entry.name, entry)
            except (FileNotFoundError, NotADirectoryError):
                continue  # It vanished, or never was: then it holds no object.
            except OSError as error:
                self.problems.append(self._unlistable(folder, error))
        if self.problems:
            raise InputError(sorted(self.problems, key=Problem.sentence))
        return self.found

    def _file(self, key: str, entry: os.DirEntry[str]) -> None:
        if entry.is_dir(follow_symlinks=False):
            self._pending.append(key + "/")
        elif entry.is_symlink():
            self._file_link(key, entry)
        else:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                return
            if stat.S_ISREG(status.st_mode):
                self.found[key] = _info_of(status)

    def _file_link(self, key: str, entry: os.DirEntry[str]) -> None:
        target = os.path.realpath(entry.path)
        if _is_inside(self._root, target) and os.path.isfile(target):
            self.found[key] = _info_of(os.stat(target))
        else:
            self.problems.append(_link_problem(self._url, key))

    def _unlistable(self, folder: str, error: OSError) -> Problem:
        found = f"the folder {folder.rstrip('/') or '.'!r} cannot be listed ({error.strerror})"
        return Problem(kind="store", found=found, expected="a folder that may be read", store=self._url)


@STORES.register("file")
def open_local(url: str) -> LocalStorage:
    """A local path, or a `file://` URL."""
    path = unquote(urlsplit(url).path) if url.startswith("file://") else url
    return LocalStorage(os.path.expanduser(path))


def is_key(key: str) -> bool:
    """Whether a text is names joined by single slashes, so that it cannot lead elsewhere.

    >>> is_key("labels/c/0"), is_key("../labels"), is_key("/labels")
    (True, False, False)
    """
    return "\0" not in key and NO_NAMES.isdisjoint(key.split("/"))


def check_key(store: str, key: str) -> None:
    """Refuse what is no key.

    Raises:
        InputError: see `is_key`.
    """
    if not is_key(key):
        found, expected = f"the key {key!r}", "names joined by single slashes"
        raise InputError(Problem(kind="key", found=found, expected=expected, store=store))


def is_young(info: ObjectInfo) -> bool:
    """Whether the object could be written again without its tag changing: git's racy rule.

    A time in the future counts as young: the clock that made it cannot be trusted.
    """
    return time.time_ns() - info.modified_ns < RACY_S * 1e9


def content_hashed(
    storage: Storage, listing: Mapping[str, ObjectInfo], keys: Iterable[str]
) -> dict[str, ObjectInfo]:
    """The listing, with the content of some of its objects read and hashed.

    Raises:
        InputChangedError: an object vanished since it was listed.
    """

    def hashed(key: str) -> ObjectInfo:
        # Piece by piece: an object may be of any size.
        digest, done, seen = blake2b(digest_size=20), 0, None
        while seen is None or done < seen.size:
            small = listing[key].size <= HASHED_AT_ONCE_BYTES
            blob = storage.get(key) if small else storage.get(key, done, done + HASHED_AT_ONCE_BYTES)
            if blob is None:
                raise InputChangedError(changed_problem(storage.url, key, "it vanished"))
            if (seen is not None and blob.info != seen) or not (blob.data or done == blob.info.size):
                raise InputChangedError(changed_problem(storage.url, key, "it was written while it was read"))
            seen, done = blob.info, done + len(blob.data)
            digest.update(blob.data)
        return replace(seen, content=digest.hexdigest())

    wanted = list(keys)
    with ThreadPoolExecutor(HASH_THREADS) as threads:
        return {**listing, **dict(zip(wanted, threads.map(hashed, wanted), strict=True))}


def read_listed(storage: Storage, key: str, listed: ObjectInfo, array: str = "", chunk: str = "") -> Blob:
    """The whole of an object, which must be the one that was listed.

    `array` and `chunk` are the words for the place in an error.

    Raises:
        InputChangedError: the object changed or vanished since.
    """
    blob = storage.get(key)
    if blob is None:
        raise InputChangedError(changed_problem(storage.url, chunk or key, "it vanished", array))
    info = replace(blob.info, content=content_hash(blob.data)) if listed.content else blob.info
    if info.fingerprint != listed.fingerprint:
        raise InputChangedError(changed_problem(storage.url, chunk or key, "it was written again", array))
    return Blob(blob.data, info)


def content_hash(data: bytes) -> str:
    """The hash that stands for an object's bytes: blake2b of 160 bits, in hex.

    >>> content_hash(b"")
    '3345524abf6bbe1809449224b5972c41790b6cf2'
    """
    return blake2b(data, digest_size=20).hexdigest()


def changed_problem(store: str, key: str, found: str, array: str = "") -> Problem:
    """An object that is not what the inventory saw."""
    return Problem(
        kind="input changed",
        found=found,
        expected="the object as the inventory saw it",
        store=store,
        array=array,
        chunk=key,
        advice="let nobody write to the store while it is evaluated, then run again",
    )


def _place_of(handle: int) -> str | None:
    """The path of an open file without links, where the system tells it: much quicker than `realpath`."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return None


def _is_inside(root: str, path: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def _link_problem(store: str, key: str) -> Problem:
    found = f"a symbolic link at {key!r} that leads out of the store, nowhere, or to a folder"
    return Problem(kind="link", found=found, store=store, advice=LINK_ADVICE)


def _folder_fault(folder: str) -> str:
    if not os.path.exists(folder):
        return "no such folder"
    if not os.path.isdir(folder):
        return "a file"
    return (
        "" if os.access(folder, os.R_OK | os.X_OK) else "a folder that must not be read (permission denied)"
    )


def _near(path: str) -> str:
    """The folder that may have been meant by one that is not there, as advice; empty if none is near."""
    parent, name = os.path.split(path)
    try:
        with os.scandir(parent) as entries:
            # An ending that all stores share makes no names alike.
            stems = {os.path.splitext(entry.name)[0]: entry.name for entry in islice(entries, NEIGHBOURS)}
    except OSError:
        return ""
    near = get_close_matches(os.path.splitext(name)[0], stems, n=1)
    return f"did you mean {os.path.join(parent, stems[near[0]])}?" if near else ""


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _info_of(status: os.stat_result) -> ObjectInfo:
    mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
    return ObjectInfo(status.st_size, f"{mtime}-{ctime}-{status.st_ino}", max(mtime, ctime))


def wait_for(young: Iterable[ObjectInfo]) -> None:
    """Sleep until objects written just now are settled; there is no waiting for times in the future."""
    now = time.time_ns()
    ages = [(now - info.modified_ns) / 1e9 for info in young if info.modified_ns <= now]
    if ages:
        time.sleep(max(0.0, RACY_S - min(ages)))


def _read(handle: int, start: int, count: int) -> bytes:
    """`count` bytes from `start`, fewer only at the end of the file; one system call moves at most 2 GiB."""
    data = os.pread(handle, count, start)
    if len(data) == count:
        return data
    parts = [data]
    while data and sum(map(len, parts)) < count:
        data = os.pread(handle, count - sum(map(len, parts)), start + sum(map(len, parts)))
        parts.append(data)
    return b"".join(parts)
