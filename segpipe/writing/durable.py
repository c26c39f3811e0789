"""Files that are whole or not there, and that a loss of power does not take back."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def put_durably(path: Path, data: bytes, temporary: Path) -> None:
    """Put a file in its place in one step; when this returns it is on the disk, name and content.

    Args:
        path: where; a file that is there is replaced.
        data: the whole content.
        temporary: a folder of the same file system for the file while it is written.
    """
    make_folder(path.parent)
    make_folder(temporary)
    unfinished = temporary / uuid4().hex
    try:
        write_new(unfinished, data)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, down to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write all bytes; one system call may take only a part of them."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, down to the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
