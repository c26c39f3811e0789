"""Zip archives on this machine, read only: `archive.zarr.zip` or `zip://path`.

The central directory is the listing. The tag of a member is that of the archive (times and inode) and its own
place and checksum, so whoever writes the archive again makes all of it new: a CRC-32 alone proves too little.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from urllib.parse import unquote

from segpipe.errors import InputChangedError, InputError, Problem
from segpipe.sources.storage import (
    STORES,
    Blob,
    ObjectInfo,
    changed_problem,
    check_key,
    content_hashed,
    is_key,
    is_young,
    wait_for,
)

MAX_DEFLATED_BYTES = 512 << 20
"""The largest member, as it says itself, that is inflated: what is deflated can be a thousand times less."""

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Before each member: a signature, 22 bytes that the central directory repeats, lengths of name and extra."""

ENCRYPTED = 1
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
WRITE_ADVICE = "write the archive again with stored members (zip -0 -r), or unpack it"


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member lies: its header, its bytes as they are kept, and what they must be afterwards."""

    header: int
    kept: int
    crc: int
    deflated: bool
    info: ObjectInfo


@dataclass(frozen=True)
class Directory:
    """The members of an archive as it was once."""

    archive: ObjectInfo
    members: dict[str, Member]


class ZipStorage:
    """A zip archive; of members with one name the last one counts, as zarr-python reads it.

    Members whose names are no keys (absolute, with `..`) cannot be reached and are left out.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self.url = f"zip://{self._path}"
        self._lock = threading.Lock()
        self._inflated: tuple[ObjectInfo, bytes] | None = None
        with self._open() as file:
            self._directory = self._read_directory(file)

    def __repr__(self) -> str:
        return f"ZipStorage({self._path!r})"

    def __reduce__(self) -> tuple[type[ZipStorage], tuple[str]]:
        return type(self), (self._path,)

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """See `Storage.list`. Waits once, as for a folder, if the archive was written just now."""
        with self._open() as file:
            archive = _archive_info(file)
        if is_young(archive):
            wait_for([archive])
        with self._open() as file:
            directory = self._now(file)
        folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        found = {key: member.info for key, member in directory.members.items() if key.startswith(folder)}
        return content_hashed(self, found, found) if is_young(directory.archive) else found

    def get(self, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        """See `Storage.get`. The checksum of what is read as a whole is verified."""
        check_key(self.url, key)
        with self._open() as file:
            directory = self._now(file)
            member = directory.members.get(key)
            if member is None:
                return None
            first, last, _ = slice(start, stop).indices(member.info.size)
            data = self._part(file, key, member, first, max(first, last))
            if _archive_info(file) != directory.archive:
                raise InputChangedError(
                    changed_problem(self.url, key, "the archive was written while it was read")
                )
        return Blob(data, member.info)

    def _open(self) -> FileIO:
        try:
            return FileIO(self._path)
        except OSError as error:
            found = f"no archive that can be opened ({error.strerror})"
            raise InputError(self._problem(found, "a zip archive that holds a Zarr store")) from None

    def _now(self, file: FileIO) -> Directory:
        """The directory of the archive as it is now; read again only after a change."""
        if _archive_info(file) != self._directory.archive:
            self._directory = self._read_directory(file)
        return self._directory

    def _read_directory(self, file: FileIO) -> Directory:
        archive = _archive_info(file)
        try:
            with os.fdopen(os.dup(file.fileno()), "rb") as buffered, zipfile.ZipFile(buffered) as opened:
                entries = opened.infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
            found = f"a file that is no zip archive, or a damaged one ({error})"
            raise InputError(self._problem(found, "a zip archive that holds a Zarr store")) from None
        last = {entry.filename: entry for entry in entries if not entry.is_dir() and is_key(entry.filename)}
        problems = [problem for entry in last.values() for problem in self._faults(entry)]
        if problems:
            raise InputError(problems)
        return Directory(archive, {name: _member(entry, archive) for name, entry in last.items()})

    def _faults(self, entry: zipfile.ZipInfo) -> Sequence[Problem]:
        """Why a member cannot be read."""
        found = ""
        if entry.flag_bits & ENCRYPTED:
            found = "an encrypted member"
        elif entry.compress_type not in METHODS:
            found = f"a member compressed by method {entry.compress_type}"
        elif entry.compress_type == zipfile.ZIP_DEFLATED and entry.file_size > MAX_DEFLATED_BYTES:
            found = f"a deflated member that claims {entry.file_size >> 20} MiB"
        elif entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            found = f"a stored member of {entry.compress_size} bytes that claims {entry.file_size}"
        expected = f"stored members, or deflated ones of at most {MAX_DEFLATED_BYTES >> 20} MiB"
        return [self._problem(found, expected, entry.filename)] if found else []

    def _problem(self, found: str, expected: str, key: str = "") -> Problem:
        return Problem(
            kind="store",
            found=found,
            expected=expected,
            store=self.url,
            chunk=key,
            advice=WRITE_ADVICE if key else "",
        )

    def _part(self, file: FileIO, key: str, member: Member, first: int, last: int) -> bytes:
        begin = _data_begin(file, key, member)
        if member.deflated:
            return self._inflate(file, key, member, begin)[first:last]
        data = _read(file, key, begin + first, last - first)
        if last - first == member.info.size:
            _verify(key, member, data)
        return data

    def _inflate(self, file: FileIO, key: str, member: Member, begin: int) -> bytes:
        """A deflated member as a whole; the last one is kept, since shards are asked for part by part."""
        with self._lock:
            if self._inflated and self._inflated[0] == member.info:
                return self._inflated[1]
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than it claims is enough to know that it claims too little.
            data = inflater.decompress(_read(file, key, begin, member.kept), member.info.size + 1)
        except zlib.error as error:
            raise OSError(errno.EIO, f"the zip member {key!r} cannot be inflated ({error})") from None
        _verify(key, member, data)
        with self._lock:
            self._inflated = member.info, data
        return data


@STORES.register("zip")
def open_zip(url: str) -> ZipStorage:
    """A path to an archive, or `zip://path`."""
    path = unquote(url.removeprefix("zip://")) if url.startswith("zip://") else url
    return ZipStorage(os.path.expanduser(path))


def _archive_info(file: FileIO) -> ObjectInfo:
    status = os.fstat(file.fileno())
    mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
    return ObjectInfo(status.st_size, f"{mtime}-{ctime}-{status.st_ino}", max(mtime, ctime))


def _member(entry: zipfile.ZipInfo, archive: ObjectInfo) -> Member:
    tag = f"{archive.size}-{archive.tag}-{entry.header_offset}-{entry.CRC:08x}"
    info = ObjectInfo(entry.file_size, tag, archive.modified_ns)
    deflated = entry.compress_type == zipfile.ZIP_DEFLATED
    return Member(entry.header_offset, entry.compress_size, entry.CRC, deflated, info)


def _data_begin(file: FileIO, key: str, member: Member) -> int:
    """Where the bytes of a member begin: behind its own header, whose length only that header tells."""
    signature, name, extra = LOCAL_HEADER.unpack(_read(file, key, member.header, LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise OSError(errno.EIO, f"the zip member {key!r} is not where the archive's directory says")
    return int(member.header + LOCAL_HEADER.size + name + extra)


def _read(file: FileIO, key: str, begin: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0:
        part = os.pread(file.fileno(), count, begin)
        if not part:
            raise OSError(errno.EIO, f"the archive ends within the zip member {key!r}")
        parts.append(part)
        begin, count = begin + len(part), count - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _verify(key: str, member: Member, data: bytes) -> None:
    if len(data) != member.info.size:
        raise OSError(errno.EIO, f"the zip member {key!r} does not hold the bytes that it claims")
    if zlib.crc32(data) != member.crc:
        raise OSError(errno.EIO, f"wrong checksum of the zip member {key!r}")
