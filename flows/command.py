"""The commands `python -m flows.evaluate`, nightly, reprocess, compare, maintenance: no server is needed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from rich.text import Text

from flows.embedded import provide_api
from segpipe.cli import (
    AS_JSON,
    COMPARED,
    OVERRIDES,
    answer,
    chosen_config,
    compare_config,
    guarded,
    show_compared,
    show_incomplete,
    show_runs,
)
from segpipe.config import EvaluationConfig, load_checked
from segpipe.run.batch import Batch, BatchError
from segpipe.run.maintenance import Maintained, MaintenanceConfig, MaintenanceError
from segpipe.run.nightly import NightlyConfig
from segpipe.run.reprocess import ReprocessConfig


def main(command: click.Command, program: str) -> None:
    """Run a command line and leave the process with its exit code."""
    words = sys.argv[1:]
    sys.exit(guarded(lambda: command.main(words, program, standalone_mode=False), as_json="--json" in words))


def run_as_main(command: click.Command) -> None:
    """Run the command of a flow whose module is run as a program: `python -m flows.nightly`.

    Dask's worker processes load the main module again: let that be this one, which knows no Prefect.
    """
    sys.modules["__main__"] = sys.modules[__name__]
    main(command, f"python -m flows.{command.name}")


CONFIGURED = click.argument("config", type=click.Path())


@click.command()
@CONFIGURED
@OVERRIDES
@AS_JSON
def evaluate(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Evaluate predictions against truth as a Prefect flow.

    Without a configured Prefect API the flow runs on one of its own, which ends with the command.
    """
    chosen = chosen_config(config, {}, overrides)
    provide_api()
    show_runs(show_incomplete(lambda: _evaluated(chosen), as_json=as_json), as_json=as_json)


def _evaluated(config: EvaluationConfig) -> list[Path]:
    """The published run of each model."""
    from flows.evaluate import evaluate as evaluate_flow

    return [Path(run) for run in run_flow(evaluate_flow, config)]


@click.command()
@CONFIGURED
@OVERRIDES
@AS_JSON
def nightly(config: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Evaluate tonight's predictions of all models, and what was late or changed, as a Prefect flow.

    CONFIG is a YAML file such as configs/examples/nightly.yaml. Exit codes are those of segpipe; 3 also
    says that a store was late or that the deadline came.
    """
    chosen = load_checked(NightlyConfig, config, overrides)
    provide_api()
    from flows.nightly import nightly as nightly_flow

    return show_batch(lambda: run_flow(nightly_flow, chosen), as_json=as_json)


@click.command()
@CONFIGURED
@OVERRIDES
@AS_JSON
def reprocess(config: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Evaluate the predictions of some days again, as a Prefect flow.

    It resumes where it was stopped, and reads nothing that is counted already.
    """
    chosen = load_checked(ReprocessConfig, config, overrides)
    provide_api()
    from flows.reprocess import reprocess as reprocess_flow

    return show_batch(lambda: run_flow(reprocess_flow, chosen), as_json=as_json)


@click.command()
@COMPARED
def compare(a: str, b: str, output: str | None, as_json: bool, **asked: Any) -> None:
    """Compare run B with run A over the same images, as a Prefect flow.

    A and B are folders of runs, or RESULTS/SUITE/MODEL for the latest one; runs whose images, classes, rules
    or truth differ are refused.
    """
    chosen = compare_config(a, b, asked)
    provide_api()
    from flows.compare import compare as compare_flow

    show_compared(lambda: run_flow(compare_flow, chosen), output, as_json=as_json)


@click.command()
@CONFIGURED
@OVERRIDES
@AS_JSON
def maintenance(config: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Remove partial counts that no run names, and verify a sample, as a Prefect flow.

    Nothing is removed unless the configuration says `dry_run: false`.
    """
    chosen = load_checked(MaintenanceConfig, config, overrides)
    provide_api()
    from flows.maintenance import maintenance as maintenance_flow

    try:
        done: Maintained = run_flow(maintenance_flow, chosen)
    except MaintenanceError as error:
        done = error.done
    answer(done.document, lambda console: console.print(Text(done.text())), as_json=as_json)
    return done.exit_code


def show_batch(work: Callable[[], Batch], *, as_json: bool) -> int:
    """Print what became of every store, whatever that is."""
    try:
        batch = work()
    except BatchError as error:
        batch = error.batch
    answer(batch.document, lambda console: console.print(Text(batch.text())), as_json=as_json)
    return batch.exit_code


def run_flow(flow: Callable[..., Any], config: BaseModel) -> Any:
    """Run a flow in this process, with its progress on the terminal.

    Returns:
        What the flow returns.

    Raises:
        SegpipeError: what the flow run failed with.
    """
    # Prefect is loaded here, when its API is already on the way.
    from flows.parts import watcher
    from segpipe.terminal import shown_progress

    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        _quiet()
    with shown_progress(sys.stderr) as progress:
        before = watcher.set(progress)
        try:
            state = flow(config, return_state=True)
        finally:
            watcher.reset(before)
    return state.result()


def _quiet() -> None:
    """Keep Prefect's lines off the terminal: progress, results and errors say what they say."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.CRITICAL)
