"""An archive, or some days of it, again under a new configuration.

It resumes: what a published run has already is not evaluated again, and what was counted is not read again.
`latest` never moves to an earlier day.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

from pydantic import model_validator

from segpipe.config import Day
from segpipe.errors import InputError
from segpipe.run.batch import Batch, BatchConfig, Outcome, evaluate_days, is_evaluated, unchanged
from segpipe.run.evaluate import Steps
from segpipe.run.lease import hold
from segpipe.run.progress import SILENT, Progress
from segpipe.run.trend import TrendRule
from segpipe.sources.patterns import FoundStore

LEASE_NAME = "reprocess.lease"


class ReprocessConfig(BatchConfig):
    """What is evaluated again.

    Attributes:
        evaluation, models, notify: see `BatchConfig`.
        since, until: the first and the last day; None: no limit.
    """

    since: Day | None = None
    until: Day | None = None

    @model_validator(mode="after")
    def _days_of_dates(self) -> ReprocessConfig:
        if (self.since or self.until) and not self.pattern.has_date:
            message = "since and until: pred.store names no {date}"
            raise ValueError(message)
        if self.since and self.until and self.until < self.since:
            message = f"until: {self.until} is before since: {self.since}"
            raise ValueError(message)
        return self

    @property
    def title(self) -> str:
        """What is done, in words."""
        days = (
            f", {self.since or 'the first day'} to {self.until or 'the last'}"
            if self.pattern.has_date
            else ""
        )
        return f"reprocess {self.evaluation.suite}{days}"

    def chosen(self) -> list[FoundStore]:
        """The stores of the models and days asked for."""
        first, last = self.since or date.min, self.until or date.max
        return [one for one in self.find() if one.day is None or first <= one.day <= last]


def to_do(config: ReprocessConfig) -> tuple[list[FoundStore], list[Outcome]]:
    """The stores that are to be evaluated, and the outcomes of those that have been.

    Raises:
        InputError: the folder of the predictions is missing or cannot be listed.
    """
    stores, outcomes = [], []
    for found in config.chosen():
        done = False
        # What is wrong with a store its run will tell.
        with suppress(InputError):
            done = is_evaluated(config.of(found))
        if done:
            outcomes.append(unchanged(found))
        else:
            stores.append(found)
    return stores, outcomes


def run_reprocess(
    config: ReprocessConfig,
    steps: Callable[[Callable[[], None]], Steps],
    look: Callable[[ReprocessConfig], tuple[list[FoundStore], list[Outcome]]] = to_do,
    note: Callable[[str], None] = lambda words: None,
) -> Batch:
    """Evaluate what is not evaluated yet, the earliest day first.

    Args:
        config: what to evaluate, and how.
        steps: makes the stages from what has to hold before publishing.
        look: finds what is to do, which a flow calls as a task.
        note: told for whom it waits.

    Returns:
        What became of every store. One that fails stops no other.
    """
    folder = Path(config.evaluation.results) / config.evaluation.suite
    with hold(folder / LEASE_NAME, config.title, waiting=note) as lease:
        stores, outcomes = look(config)
        done = evaluate_days(config, stores, steps(lease.check), TrendRule())
        return Batch(config.title, (*outcomes, *done))


def reprocess(config: ReprocessConfig, *, progress: Progress = SILENT) -> Batch:
    """Evaluate an archive again in this process; see `run_reprocess`."""
    return run_reprocess(config, lambda check: Steps(progress, None, check), note=progress.note)
