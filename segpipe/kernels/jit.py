"""Compile with Numba, and choose a folder in which the machine code may be kept between processes.

Numba's own choice fails on a read-only root, and its cache files are pickles: whoever may write them runs
code as us. So one helper chooses the folder, and takes none that another user could write or replace.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_TOLD: list[Callable[[], None]] = []
"""Who is told that something is compiled."""


def compiled(function: Function) -> Function:
    """Compile `function` at its first call: without the GIL, bounds checks or fast mathematics.

    Fast mathematics would make results a property of the CPU. Only modules that import Numba anyhow use
    this, and they are imported when counting begins.
    """
    folder = cache_folder()
    with _numba_cache(folder):
        return _jit(function, nogil=True, cache=folder is not None)


def part(function: Function) -> Function:
    """Compile `function` as a part of those that call it.

    It must stand in the file of those: the cache notices a change of that file only.
    """
    return _jit(function)


def inlined(function: Function) -> Function:
    """As `part`, without a call: for what is done for each run or pixel."""
    return _jit(function, forceinline=True)


@contextmanager
def told_of_compiling(tell: Callable[[str], None]) -> Iterator[None]:
    """While it lasts, say once if machine code has to be made: that takes seconds, loading it does not.

    `tell` is called in the thread that compiles, in the context of this one.
    """
    context = copy_context()

    def once() -> None:
        _TOLD.remove(once)
        folder = cache_folder()
        kept = f"once; kept in {folder}" if folder else "every time: no folder to keep it in"
        context.run(tell, f"compiling for this machine, {kept}")

    _TOLD.append(once)
    try:
        yield
    finally:
        if once in _TOLD:
            _TOLD.remove(once)


@cache
def _listen() -> None:
    """Hear of Numba when it compiles something of ours; what it finds in its cache is no such event."""
    from numba.core import event

    register: Any = event.register

    class Compiling(event.Listener):
        def on_start(self, event: Any) -> None:
            if event.data["dispatcher"].py_func.__module__.startswith("segpipe."):
                for tell in list(_TOLD):
                    tell()

        def on_end(self, event: Any) -> None:
            """It has been told already."""

    register("numba:compile", Compiling())


def _jit(function: Function, **options: bool) -> Function:
    import numba

    _listen()
    njit: Any = numba.njit
    return cast(Function, njit(boundscheck=False, error_model="numpy", **options)(function))


@cache
def cache_folder() -> Path | None:
    """The first folder that can be written and that nobody else can write, or None: then nothing is kept.

    In this order: NUMBA_CACHE_DIR, the user's cache (XDG_CACHE_HOME or ~/.cache), a folder of our own among
    the temporary files.
    """
    for folder in _candidates():
        if _usable(folder):
            return folder
    return None


@contextmanager
def _numba_cache(folder: Path | None) -> Iterator[None]:
    """Point Numba at the folder while one function is declared: the setting is shared by all packages."""
    import numba

    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder or before)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    if users := os.environ.get("XDG_CACHE_HOME"):
        yield Path(users) / "segpipe" / "numba"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        yield Path(home) / ".cache" / "segpipe" / "numba"
    yield Path(tempfile.gettempdir()) / f"segpipe-numba-{os.geteuid()}"


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        resolved = folder.resolve(strict=True)
        if not _private(resolved):
            return False
        with tempfile.TemporaryFile(dir=resolved):
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    """Whether no other user could write `folder`, or put another one in its place (root may do anything)."""
    mine = os.geteuid()
    own = folder.stat()
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != mine or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    return all(_holds_safely(parent.stat(), mine) for parent in folder.parents)


def _holds_safely(parent: os.stat_result, mine: int) -> bool:
    shared = parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not parent.st_mode & stat.S_ISVTX
    return parent.st_uid in (0, mine) and not shared
