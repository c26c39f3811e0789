"""What a store holds that cannot be listed: asked for by name, once for each name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from segpipe.sources.storage import AskingStorage, ObjectInfo


class AskedObjects(Mapping[str, ObjectInfo]):
    """Key -> info, as a listing would tell it, of the objects whose names somebody knew.

    To look up a key asks the storage for it, if nobody did before; iteration gives what was asked for and is
    there. `ask` asks for many keys at a time.
    """

    def __init__(self, storage: AskingStorage) -> None:
        self._storage = storage
        self._answers: dict[str, ObjectInfo | None] = {}

    def ask(self, keys: Iterable[str]) -> None:
        """Ask for those of the keys that were not asked for before, all at once."""
        unknown = [key for key in dict.fromkeys(keys) if key not in self._answers]
        self._answers |= dict.fromkeys(unknown) | self._storage.ask(unknown)

    def __getitem__(self, key: str) -> ObjectInfo:
        self.ask([key])
        info = self._answers[key]
        if info is None:
            raise KeyError(key)
        return info

    def __iter__(self) -> Iterator[str]:
        return (key for key, info in list(self._answers.items()) if info is not None)

    def __len__(self) -> int:
        return sum(info is not None for info in self._answers.values())


def ask_at_once(objects: Mapping[str, ObjectInfo], keys: Iterable[str]) -> None:
    """Before many keys are looked up one by one: ask for them at once, if they have to be asked for."""
    if isinstance(objects, AskedObjects):
        objects.ask(keys)
