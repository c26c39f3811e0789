"""All stages of an evaluation, one after the other, in this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from segpipe.config import EvaluationConfig
from segpipe.errors import WORST_FIRST, ConfigError, GateError, IncompleteError, SegpipeError
from segpipe.run import stages
from segpipe.run.progress import SILENT, Progress


def evaluate(config: EvaluationConfig, *, progress: Progress = SILENT) -> Path:
    """Evaluate predictions against truth.

    Returns:
        The folder of the published run; with several models (`also`), that of the first.

    Raises:
        SegpipeError: in words; what was counted is kept, and the same call goes on from there.
    """
    return evaluate_models(config, progress=progress)[0]


def evaluate_models(config: EvaluationConfig, *, progress: Progress = SILENT) -> list[Path]:
    """Evaluate the predictions of all models of a configuration against one truth, which is read once.

    Returns:
        The folders of the published runs, one for each model.

    Raises:
        SegpipeError: that of the first model that failed, once all others are done.
    """
    return runs_of(evaluate_each(config.each_model(), Steps(progress)))


@dataclass(frozen=True)
class Evaluated:
    """What became of one model: its run, if one was begun, and the error that it ended with, if any."""

    config: EvaluationConfig
    run: Path | None = None
    error: SegpipeError | None = None


class Steps:
    """The stages of a run as they are called in this process; a flow calls them as tasks.

    Args:
        progress: told how far they are.
        until: when counting ends, counted or not.
        before_publish: raises what forbids to publish.
    """

    def __init__(
        self,
        progress: Progress = SILENT,
        until: datetime | None = None,
        before_publish: Callable[[], None] = lambda: None,
    ) -> None:
        self._progress, self._until, self._before_publish = progress, until, before_publish

    def begin(self) -> None:
        """Planning begins, of all models."""
        self._progress.stage("plan")

    def start(self, config: EvaluationConfig) -> Path:
        """Make the run's folder."""
        return stages.start(config)

    def plan(self, run: Path) -> None:
        """Inventory, alignment, buckets."""
        for warning in stages.plan(run).warnings:
            self._progress.note(warning)

    def count(self, run: Path, companions: Sequence[Path]) -> None:
        """Count what has no counts yet; other models along with it."""
        self._progress.stage("count")
        stages.count(run, self._progress, companions, self._until)

    def finish(self, run: Path) -> None:
        """All that follows counting."""
        for stage in (stages.reduce, stages.score, stages.gate, stages.report):
            self._progress.stage(stage.__name__)
            stage(run)
        self._before_publish()
        self._progress.stage("publish")
        stages.publish(run)


def evaluate_each(configs: Sequence[EvaluationConfig], steps: Steps) -> list[Evaluated]:
    """Evaluate several predictions against one truth, which is read once; one that fails stops no other.

    Args:
        configs: alike but for the predictions.
        steps: how the stages are called.
    """
    _refuse_while_starting()
    steps.begin()
    done: dict[str, Evaluated] = {}
    planned: dict[str, Path] = {}
    for one in configs:
        with _kept(done, one) as begun:
            begun.append(steps.start(one))
            with _noted(begun[0]):
                steps.plan(begun[0])
            planned[one.model] = begun[0]
    waiting = list(planned)
    for one in configs:
        if one.model in planned:
            waiting.remove(one.model)
            with _kept(done, one) as begun:
                begun.append(planned[one.model])
                with _noted(begun[0]):
                    steps.count(begun[0], [planned[name] for name in waiting])
                    steps.finish(begun[0])
    return [done[one.model] for one in configs]


def runs_of(done: Sequence[Evaluated]) -> list[Path]:
    """The runs of models of which none has failed.

    Raises:
        SegpipeError: the worst by exit code, and of such the first; with the name of the model where there
            are several.
    """
    failures = [(one.error, one.config.model) for one in done if one.error is not None]
    if failures:
        error, model = min(failures, key=lambda failure: WORST_FIRST.index(failure[0].exit_code))
        if len(done) > 1:
            error.add_note(f"model {model}")
        raise error
    return [one.run for one in done if one.run is not None]


@contextmanager
def _kept(done: dict[str, Evaluated], config: EvaluationConfig) -> Iterator[list[Path]]:
    """Keep what became of a model; the run goes into the list that is given."""
    begun: list[Path] = []
    error: SegpipeError | None = None
    try:
        yield begun
    except SegpipeError as raised:
        error = raised
    done[config.model] = Evaluated(config, begun[0] if begun else None, error)


@contextmanager
def _noted(run: Path) -> Iterator[None]:
    """Write a failure into the run's record; a run that was published has not failed."""
    try:
        yield
    except (IncompleteError, GateError) as error:
        if not error.run:
            stages.fail(run, error)
        raise
    except Exception as error:
        stages.fail(run, error)
        raise
    except BaseException as signal:
        # Prefect turns SIGTERM into an exception of its own.
        stages.fail(run, KeyboardInterrupt(*signal.args))
        raise


def _refuse_while_starting() -> None:
    """A worker process that starts loads the script of the user again, which must not evaluate in turn."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        message = "segpipe was called while a worker starts: call it under `if __name__ == '__main__':`"
        raise ConfigError(message)
