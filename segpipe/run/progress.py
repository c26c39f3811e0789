"""What a run tells while it goes; the terminal, Prefect and tests each show it their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Work:
    """An amount of work."""

    images: int = 0
    pixels: int = 0
    stored_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.images + other.images, self.pixels + other.pixels, self.stored_bytes + other.stored_bytes
        )


class Progress(Protocol):
    """Called in the driving thread only, but for `remark`."""

    def stage(self, name: str) -> None:
        """A stage begins: plan, count, reduce, score, gate, report, publish."""

    def begin(self, total: Work, done: Work) -> None:
        """Counting begins; `done` is what partial counts hold already."""

    def advance(self, work: Work) -> None:
        """Some more has been counted."""

    def end(self) -> None:
        """Counting has ended."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def remark(self, text: str) -> None:
        """Why something takes its time; nothing is wrong. Called in any thread, in the driver's context."""


class Silent:
    """Tells nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""

    def begin(self, total: Work, done: Work) -> None:
        """Nothing."""

    def advance(self, work: Work) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def remark(self, text: str) -> None:
        """Nothing."""


SILENT: Progress = Silent()
