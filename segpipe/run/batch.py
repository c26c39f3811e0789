"""Many stores of predictions, evaluated day by day: what a night and the reprocessing of an archive share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from segpipe.config import SIDES, EvaluationConfig, make_config
from segpipe.errors import (
    EXIT_GATE,
    EXIT_INCOMPLETE,
    EXIT_INFRASTRUCTURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    ConfigError,
    InfrastructureError,
    SegpipeError,
    worst_exit_code,
)
from segpipe.metrics.scores import HEADLINE
from segpipe.reports.comparison import comparison_words
from segpipe.reports.text import printable, score_text
from segpipe.run.compared import compare
from segpipe.run.evaluate import Evaluated, Steps, evaluate_each
from segpipe.run.history import HistoryRow, read_history, trend_of
from segpipe.run.identity import planned_identity
from segpipe.run.notify import NotifyConfig
from segpipe.run.trend import Direction, TrendRule
from segpipe.sources.patterns import FoundStore, Pattern
from segpipe.values import FOLDER_NAME, Frozen

STATES = {
    EXIT_OK: "complete",
    EXIT_INPUT: "bad input",
    EXIT_GATE: "gate failed",
    EXIT_INCOMPLETE: "incomplete",
    EXIT_INFRASTRUCTURE: "infrastructure",
    EXIT_INTERRUPTED: "interrupted",
}
"""Exit code -> the word for how an evaluation ended."""

EVALUATED = ("complete", "gate_failed")
"""States of published runs that there is no reason to repeat."""

SHOWN_OUTCOMES = 60


class BatchConfig(Frozen):
    """Which stores are evaluated, and how.

    Attributes:
        evaluation: how; in `pred.store` {model} and {date} stand for any, in the stores of truth and of what
            lies over it {date} for the same day.
        models: only these.
        notify: who is told when something is wrong.
    """

    evaluation: EvaluationConfig
    models: tuple[Annotated[str, Field(pattern=FOLDER_NAME)], ...] = ()
    notify: NotifyConfig = NotifyConfig()

    @model_validator(mode="after")
    def _patterns(self) -> BatchConfig:
        message = ""
        try:
            known = Pattern(self.evaluation.pred.store)
            lies = [self.evaluation.truth, *self.evaluation.overlays.values()]
            others = [Pattern(one.store) for one in lies]
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.evaluation.also:
            message = "also: models are found by {model} in pred.store, and each may be listed in `models`"
        elif any(other.has_model for other in others):
            message = "truth is the same for all models: only pred.store may name {model}"
        elif any(other.has_date for other in others) and not known.has_date:
            message = "truth names a {date} and pred.store does not"
        elif self.models and not known.has_model:
            message = "models: pred.store names no {model}"
        if message:
            raise ValueError(message)
        return self

    @property
    def pattern(self) -> Pattern:
        """Where predictions lie."""
        return Pattern(self.evaluation.pred.store)

    def find(self) -> list[FoundStore]:
        """The stores that there are, of the models asked for.

        Raises:
            InputError: the folder above the first placeholder is missing or cannot be listed.
        """
        found = [replace(one, model=one.model or self.evaluation.model) for one in self.pattern.find()]
        return [one for one in found if not self.models or one.model in self.models]

    def of(self, found: FoundStore) -> EvaluationConfig:
        """The configuration of one store."""
        values = self.evaluation.model_dump()
        for name in (*SIDES, *self.evaluation.overlays):
            values[name]["store"] = Pattern(values[name]["store"]).fill(found.model, found.day)
        values["pred"]["store"] = found.store
        return make_config({**values, "model": found.model, "date": found.day or self.evaluation.date})


@dataclass(frozen=True)
class Outcome:
    """What became of one store.

    Attributes:
        model, day, store: which.
        state: one of STATES, or `late`, `unchanged`, `not begun`.
        exit_code: the one that goes with it.
        message: why, in words.
        run: the folder of the run, if there is one.
        headline, score: the main figure.
        change: from the complete run before; None: there is none.
        compared: this run with that one, image by image, in words: the difference, its interval and p.
        trend: where the score goes, this run the last.
    """

    model: str
    day: str
    store: str
    state: str
    exit_code: int = EXIT_OK
    message: str = ""
    run: str = ""
    headline: str = ""
    score: float | None = None
    change: float | None = None
    compared: str = ""
    trend: Direction = "unknown"

    def sentence(self) -> str:
        """In one line, without control characters."""
        parts = [self.state]
        if self.score is not None:
            change = "" if self.change is None else f" ({self.change:+.4f})"
            parts.append(f"{self.headline} {score_text(self.score)}{change}")
        parts += ["falling"] if self.trend == "falling" else []
        parts += [self.message.split("\n")[0]] if self.message else []
        return printable(f"{self.model}{f', {self.day}' if self.day else ''}: {', '.join(parts)}")


@dataclass(frozen=True)
class Batch:
    """What became of all stores.

    Attributes:
        title: what was done, such as `nightly of 2026-11-20`.
        outcomes: one for each store.
    """

    title: str
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """The one for all of them."""
        return worst_exit_code(one.exit_code for one in self.outcomes)

    @property
    def state(self) -> str:
        """How it ended, in a word."""
        return STATES[self.exit_code]

    @property
    def remarkable(self) -> bool:
        """Whether somebody should be told: something failed or is late, or a score falls."""
        return self.exit_code != EXIT_OK or any(one.trend == "falling" for one in self.outcomes)

    def table(self) -> list[dict[str, str]]:
        """One row for each store, of printable texts."""
        return [
            {
                "model": one.model,
                "day": one.day,
                "state": one.state,
                "score": "" if one.score is None else score_text(one.score),
                "change": "" if one.change is None else f"{one.change:+.4f}",
                "compared": printable(one.compared),
                "trend": one.trend,
                "why": printable(one.message.split("\n")[0]),
                "run": printable(one.run),
            }
            for one in self.outcomes
        ]

    def text(self) -> str:
        """For people: the state, then a line for each store, what is wrong first."""
        ordered = sorted(self.outcomes, key=lambda one: (one.exit_code == EXIT_OK, one.state == "unchanged"))
        lines = [f"- {one.sentence()}" for one in ordered[:SHOWN_OUTCOMES]]
        more = len(ordered) - len(lines)
        lines += [f"- and {more} more"] if more else []
        return "\n".join([f"{self.title}: {self.state if self.outcomes else 'no stores'}", *lines])

    def document(self) -> dict[str, Any]:
        """As plain data."""
        outcomes = [asdict(one) for one in self.outcomes]
        return {
            "title": self.title,
            "state": self.state,
            "exit_code": self.exit_code,
            "outcomes": outcomes,
        }


class BatchError(SegpipeError):
    """Not all stores of a batch were evaluated well; `batch` tells each of them."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.exit_code = batch, batch.exit_code
        super().__init__(batch.text())

    def __reduce__(self) -> tuple[type[BatchError], tuple[Batch]]:
        return type(self), (self.batch,)


def is_evaluated(config: EvaluationConfig) -> bool:
    """Whether a published run has these label maps under these rules; then a new one would be the same.

    Raises:
        InputError: everything that is wrong with the stores.
    """
    rows = read_history(Path(config.results), config.suite, config.model)
    done = {row.identity for row in rows if row.state in EVALUATED}
    return bool(done) and planned_identity(config) in done


def evaluate_days(
    config: BatchConfig,
    found: Iterable[FoundStore],
    steps: Steps,
    trend: TrendRule,
    may_begin: Callable[[], bool] = lambda: True,
) -> Iterator[Outcome]:
    """Evaluate stores, the models of one day together and one day after the other.

    A day that fails stops no other, whatever it fails with.
    """
    ordered = sorted(found, key=lambda one: (one.day or date.min, one.model or ""))
    for _, group in groupby(ordered, key=lambda one: one.day):
        stores = list(group)
        if not may_begin():
            yield from (late(one, "there was no time left", "not begun") for one in stores)
            continue
        configs = [config.of(one) for one in stores]
        try:
            done = evaluate_each(configs, steps)
        except SegpipeError:
            raise
        except Exception as error:
            words = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
            yield from (failed(one, InfrastructureError(words)) for one in stores)
            continue
        yield from (_ended(one, store, trend) for one, store in zip(done, stores, strict=True))


def _outcome(found: FoundStore, state: str, exit_code: int = EXIT_OK, message: str = "") -> Outcome:
    day = found.day.isoformat() if found.day else ""
    return Outcome(found.model or "", day, found.store, state, exit_code, message)


def late(found: FoundStore, why: str, state: str = "late") -> Outcome:
    """The outcome of a store that is not ready, or not begun in time."""
    return _outcome(found, state, EXIT_INCOMPLETE, why)


def unchanged(found: FoundStore) -> Outcome:
    """The outcome of a store that has been evaluated."""
    return _outcome(found, "unchanged")


def failed(found: FoundStore, error: SegpipeError) -> Outcome:
    """The outcome of a store that could not be looked at."""
    return _outcome(found, STATES[error.exit_code], error.exit_code, str(error))


def _ended(done: Evaluated, found: FoundStore, rule: TrendRule) -> Outcome:
    code = done.error.exit_code if done.error else EXIT_OK
    outcome = _outcome(found, STATES[code], code, str(done.error or ""))
    outcome = replace(outcome, run=str(done.run or ""))
    rows = read_history(Path(done.config.results), done.config.suite, done.config.model)
    row = next((row for row in rows if done.run and row.run == done.run.name), None)
    return outcome if row is None else _scored(outcome, row, rows, rule)


def _scored(outcome: Outcome, row: HistoryRow, rows: Sequence[HistoryRow], rule: TrendRule) -> Outcome:
    """An outcome with the figures of its run, and how they compare with the runs before."""
    upto = [one for one in rows if (one.day, one.number) <= (row.day, row.number)]
    trend = trend_of(upto, rule).direction if row.state == "complete" else "unknown"
    outcome = replace(outcome, headline=row.headline, score=row.value, trend=trend)
    before = [one for one in upto if one.run != row.run and one.state == "complete"]
    if not before or before[-1].value is None or row.value is None:
        return outcome
    run, change = Path(outcome.run), row.value - before[-1].value
    return replace(outcome, change=change, compared=_compared(run.parent / before[-1].run, run))


def _compared(before: Path, run: Path) -> str:
    """Two published runs compared, or why they cannot be."""
    try:
        return comparison_words(compare(before, run, metrics=[HEADLINE]))[0]
    except SegpipeError as error:
        return f"not compared with the run before: {str(error).splitlines()[0]}"


def now_utc() -> datetime:
    """The time."""
    return datetime.now(UTC)
