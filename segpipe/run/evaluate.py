"""All stages of an evaluation, one after the other, in this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError, IncompleteError, SegpipeError
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
    _refuse_while_starting()
    models = config.each_model()
    progress.stage("plan")
    planned: dict[str, Path] = {}
    failures: list[SegpipeError] = []
    for one in models:
        with _failing(failures, one, alone=len(models) == 1):
            planned[one.model] = _plan(one, progress)
    published: list[Path] = []
    waiting = list(planned)
    for one in models:
        if one.model in planned:
            waiting.remove(one.model)
            with _failing(failures, one, alone=len(models) == 1):
                published.append(planned[one.model])
                _finish(planned[one.model], [planned[name] for name in waiting], progress)
    if failures:
        raise failures[0]
    return published


@contextmanager
def _failing(failures: list[SegpipeError], config: EvaluationConfig, *, alone: bool) -> Iterator[None]:
    """Keep an error for later, with the name of the model; the only model fails at once."""
    try:
        yield
    except SegpipeError as error:
        if alone:
            raise
        error.add_note(f"model {config.model}")
        failures.append(error)


def _plan(config: EvaluationConfig, progress: Progress) -> Path:
    run = stages.start(config)
    with _noted(run):
        for warning in stages.plan(run).warnings:
            progress.note(warning)
    return run


def _finish(run: Path, companions: list[Path], progress: Progress) -> None:
    with _noted(run):
        progress.stage("count")
        stages.count(run, progress, companions)
        for stage in (stages.reduce, stages.score, stages.report, stages.publish):
            progress.stage(stage.__name__)
            stage(run)


@contextmanager
def _noted(run: Path) -> Iterator[None]:
    """Write a failure into the run's record; an incomplete run is published and has not failed."""
    try:
        yield
    except IncompleteError:
        raise
    except BaseException as error:
        stages.fail(run, error)
        raise


def _refuse_while_starting() -> None:
    """A worker process that starts loads the script of the user again, which must not evaluate in turn."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        message = "segpipe was called while a worker starts: call it under `if __name__ == '__main__':`"
        raise ConfigError(message)
