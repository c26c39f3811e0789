"""What a report tells about the run besides scores: planned, left out, warned of, and where it ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Alignment = Literal["id", "index"]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many images, or pixels, were planned, and what became of them."""

    planned: int
    counted: int
    skipped: int = 0
    quarantined: int = 0

    @property
    def coverage(self) -> float:
        """Counted over planned; NaN where nothing was planned.

        >>> Tally(planned=4, counted=3, skipped=1).coverage
        0.75
        """
        return self.counted / self.planned if self.planned else float("nan")


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run in words and figures.

    Attributes:
        suite, model: what was evaluated.
        run: the name of the run, `<number>-<time>`.
        images, pixels: what was planned and what became of it.
        alignment: images were matched by `id` or by `index`.
        warnings: sentences that a reader must see.
        rules: sentences on how pixels were read and counted; those on scoring come from the scores.
        versions: package -> version.
        timings: stage -> seconds.
        provenance: times, hosts, stores, fingerprints: what differs between runs of the same counts.
        config: the resolved configuration as text.
    """

    suite: str
    model: str
    run: str
    images: Tally
    pixels: Tally
    alignment: Alignment
    warnings: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""

    @property
    def coverage(self) -> float:
        """The smaller of the coverage in images and in pixels; NaN where one is not known.

        >>> whole, part = Tally(planned=2, counted=2), Tally(planned=10, counted=9)
        >>> RunSummary(suite="s", model="m", run="1", images=whole, pixels=part, alignment="id").coverage
        0.9
        """
        parts = (self.images.coverage, self.pixels.coverage)
        return min(parts) if all(part == part for part in parts) else float("nan")

    def document(self) -> dict[str, Any]:
        """The summary as plain data."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> RunSummary:
        """The summary that `document` was made from."""
        tallies = {name: Tally(**document[name]) for name in ("images", "pixels")}
        tuples = {name: tuple(document[name]) for name in ("warnings", "rules")}
        return cls(**{**document, **tallies, **tuples})
