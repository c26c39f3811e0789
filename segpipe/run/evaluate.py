"""All stages of an evaluation, one after the other, in this process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError, IncompleteError
from segpipe.run import stages
from segpipe.run.progress import SILENT, Progress


def evaluate(config: EvaluationConfig, *, progress: Progress = SILENT) -> Path:
    """Evaluate predictions against truth.

    Returns:
        The folder of the published run.

    Raises:
        SegpipeError: in words; what was counted is kept, and the same call goes on from there.
    """
    _refuse_while_starting()
    progress.stage("plan")
    run = stages.start(config)
    try:
        for warning in stages.plan(run).warnings:
            progress.note(warning)
        progress.stage("count")
        stages.count(run, progress)
        for stage in (stages.reduce, stages.score, stages.report, stages.publish):
            progress.stage(stage.__name__)
            stage(run)
    except IncompleteError:
        raise
    except BaseException as error:
        stages.fail(run, error)
        raise
    return run


def _refuse_while_starting() -> None:
    """A worker process that starts loads the script of the user again, which must not evaluate in turn."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        message = "segpipe was called while a worker starts: call it under `if __name__ == '__main__':`"
        raise ConfigError(message)
