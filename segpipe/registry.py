"""Named parts that can be added by one new file, here or in a user's own package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from threading import RLock
from typing import Any, Generic, TypeVar

from segpipe.errors import ConfigError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name -> part. Built-in parts register themselves when their module is imported.

    Args:
        kind: what is registered, in the singular (`metric`); `segpipe.<kind>s` is the entry-point group
            under which another package names the modules or objects that it adds.
        modules: the modules of built-in parts, imported at the first look-up.
    """

    def __init__(self, kind: str, modules: tuple[str, ...] = ()) -> None:
        self._kind = kind
        self._modules = modules
        self._parts: dict[str, T] = {}
        self._loaded = False
        self._loading = RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that files a part under `name`; a name is taken once."""

        def file(part: T) -> T:
            if self._parts.get(name, part) is not part:
                message = f"{self._kind} {name!r} is registered twice"
                raise ConfigError(message)
            self._parts[name] = part
            return part

        return file

    def _load(self) -> dict[str, T]:
        # Another thread waits until all parts are there; a module that looks something up meanwhile does not.
        with self._loading:
            if not self._loaded:
                self._loaded = True
                for module in self._modules:
                    import_module(module)
                for entry in _entry_points(tuple(sys.path)).select(group=f"segpipe.{self._kind}s"):
                    part = entry.load()
                    if entry.name not in self._parts:
                        self._parts[entry.name] = part
            return self._parts

    def __getitem__(self, name: str) -> T:
        parts = self._load()
        if name not in parts:
            near = get_close_matches(name, parts, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"no {self._kind} {name!r}; known: {', '.join(sorted(parts))}{hint}"
            raise ConfigError(message)
        return parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


@lru_cache(maxsize=1)
def _entry_points(path: tuple[str, ...]) -> Any:
    """The entry points of all packages on a path; finding them means to open a file of each."""
    return entry_points()
