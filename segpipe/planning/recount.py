"""Which buckets are counted anew although their counts are there already."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

ALL = 100.0


@dataclass(frozen=True)
class Recount:
    """A share of all buckets, drawn by their keys.

    Attributes:
        percent: how many of a hundred; 0: none, 100: all.
        seed: another one draws other buckets.
        trusted: counts that turn out to differ are an error; otherwise they are replaced, and it is told.
    """

    percent: float = 0.0
    seed: str = ""
    trusted: bool = True

    def wants(self, key: str) -> bool:
        """Whether the bucket of this key is counted anew.

        >>> Recount(percent=100).wants("0c"), Recount().wants("0c")
        (True, False)
        >>> sum(map(Recount(percent=5, seed="2026-01-31").wants, map(str, range(10_000))))
        493
        """
        if self.percent in (0.0, ALL):
            return self.percent == ALL
        draw = int.from_bytes(blake2b(f"{self.seed} {key}".encode(), digest_size=8).digest())
        return draw < self.percent / ALL * 2**64
