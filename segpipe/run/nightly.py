"""A night: find the stores of predictions, evaluate what is new or changed, and tell what is wrong.

A store that is not ready is late: it is told and not evaluated; the next night looks at it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from segpipe.errors import InfrastructureError, InputError, SegpipeError
from segpipe.run.batch import (
    Batch,
    BatchConfig,
    Outcome,
    evaluate_days,
    failed,
    is_evaluated,
    late,
    now_utc,
    unchanged,
)
from segpipe.run.evaluate import Steps
from segpipe.run.lease import hold
from segpipe.run.notify import notify
from segpipe.run.progress import SILENT, Progress
from segpipe.run.ready import ReadyRule, why_not_ready
from segpipe.run.trend import TrendRule
from segpipe.sources.patterns import FoundStore

LEASE_NAME = "nightly.lease"


class NightlyConfig(BatchConfig):
    """What a night evaluates.

    Attributes:
        evaluation, notify: see `BatchConfig`.
        models: that a store is expected of; empty: whatever is found.
        timezone: whose midnight begins a day, and whose clock the deadline is read on.
        days_ago: tonight's predictions carry the date of so many days ago.
        look_back_days: stores of so many days before are looked at as well: they may have been late.
        ready: what tells that a store is finished.
        deadline: the time of day, 07:00, at which the night ends with what is counted.
        trend: when a score counts as falling.
    """

    timezone: str = "UTC"
    days_ago: int = Field(default=0, ge=0, le=366)
    look_back_days: int = Field(default=7, ge=0, le=366)
    ready: ReadyRule = ReadyRule()
    deadline: str | None = None
    trend: TrendRule = TrendRule()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            ZoneInfo(value)
            return value
        message = "input should be the name of a time zone such as UTC or Europe/Zurich"
        raise ValueError(message)

    @field_validator("deadline", mode="before")
    @classmethod
    def _time_of_day(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, str) and len(value) == 5:
            with suppress(ValueError):
                return time.fromisoformat(value).strftime("%H:%M")
        message = "input should be a time of day in quotation marks, such as '07:00'"
        raise ValueError(message)

    def night(self, now: datetime) -> date:
        """The day that tonight's predictions carry."""
        return now.astimezone(ZoneInfo(self.timezone)).date() - timedelta(days=self.days_ago)

    @property
    def tonight(self) -> date:
        """The day that the predictions of this very night carry."""
        return self.night(now_utc())

    def until(self, now: datetime) -> datetime | None:
        """When a night that begins now has to end."""
        if self.deadline is None:
            return None
        zone = ZoneInfo(self.timezone)
        today = now.astimezone(zone).date()
        at = time.fromisoformat(self.deadline)
        ends = [datetime.combine(today + timedelta(days=days), at, zone) for days in (0, 1)]
        return next(end for end in ends if end > now)


@dataclass(frozen=True)
class Survey:
    """What there is to do.

    Attributes:
        day: the night's.
        stores: to be evaluated.
        outcomes: of the others.
    """

    day: date
    stores: list[FoundStore] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def survey(config: NightlyConfig, now: datetime) -> Survey:
    """Find the stores, and tell which are late, which are unchanged, and which are to be evaluated.

    Raises:
        InputError: the folder of the predictions is missing or cannot be listed.
    """
    night = config.night(now)
    made = Survey(night)
    found = [
        one
        for one in config.find()
        if one.day is None or 0 <= (night - one.day).days <= config.look_back_days
    ]
    made.outcomes.extend(late(one, "there is no such store yet") for one in _absent(config, found, night))
    for one in found:
        try:
            why = why_not_ready(config.ready, config.of(one).pred, one.model or "", one.day)
            if why:
                made.outcomes.append(late(one, why))
            elif _is_unchanged(config, one):
                made.outcomes.append(unchanged(one))
            else:
                made.stores.append(one)
        except InfrastructureError as error:
            made.outcomes.append(failed(one, error))
    return made


def _absent(config: NightlyConfig, found: Sequence[FoundStore], night: date) -> list[FoundStore]:
    """The stores that tonight is expected to have, and has not."""
    pattern = config.pattern
    day = night if pattern.has_date else None
    there = {one.model for one in found if one.day == day}
    names = config.models or (() if pattern.has_model else (config.evaluation.model,))
    return [FoundStore(pattern.fill(name, day), name, day) for name in names if name not in there]


def _is_unchanged(config: NightlyConfig, found: FoundStore) -> bool:
    try:
        return is_evaluated(config.of(found))
    except InputError:
        # Its run will tell what is wrong.
        return False


def run_night(
    config: NightlyConfig,
    steps: Callable[[datetime | None, Callable[[], None]], Steps],
    look: Callable[[NightlyConfig, datetime], Survey] = survey,
    note: Callable[[str], None] = lambda words: None,
) -> Batch:
    """Do all of a night but tell people.

    Args:
        config: what to evaluate.
        steps: makes the stages from the time to stop counting, and from what has to hold before publishing.
        look: the survey, which a flow calls as a task.
        note: told for whom the night waits.

    Returns:
        What became of every store. Two nights of one suite do not run at the same time: the second one waits.

    Raises:
        SegpipeError: nothing could be evaluated.
    """
    begun = now_utc()
    until = config.until(begun)
    folder = Path(config.evaluation.results) / config.evaluation.suite
    title = f"nightly of {config.night(begun)}"
    with hold(folder / LEASE_NAME, title, until=until, waiting=note) as lease:
        looked = look(config, begun)
        done = evaluate_days(
            config,
            looked.stores,
            steps(until, lease.check),
            config.trend,
            lambda: until is None or now_utc() < until,
        )
        return Batch(title, (*looked.outcomes, *done))


def nightly(config: NightlyConfig, *, progress: Progress = SILENT) -> Batch:
    """Do a night, and tell people if something is wrong.

    Returns:
        What became of every store; its `exit_code` is that of the night.

    Raises:
        SegpipeError: nothing could be evaluated; people were told.
    """
    try:
        batch = run_night(config, lambda until, check: Steps(progress, until, check), note=progress.note)
    except SegpipeError as error:
        words = f"nightly of {config.evaluation.suite}: {error}"
        _tell(config, words, {"exit_code": error.exit_code}, progress)
        raise
    if batch.remarkable:
        _tell(config, batch.text(), batch.document(), progress)
    return batch


def _tell(config: NightlyConfig, text: str, figures: dict[str, object], progress: Progress) -> None:
    why = notify(config.notify, text, figures)
    if why:
        progress.note(why)
