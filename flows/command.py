"""The command `python -m flows.evaluate`: the evaluation as a Prefect flow, with or without a server."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import cast

import click

from flows.embedded import provide_api
from segpipe.cli import AS_JSON, OVERRIDES, chosen_config, guarded, show_incomplete, show_runs
from segpipe.config import EvaluationConfig

PROGRAM = "python -m flows.evaluate"


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    words = sys.argv[1:]
    sys.exit(guarded(lambda: evaluate.main(words, PROGRAM, standalone_mode=False), as_json="--json" in words))


@click.command()
@click.argument("config", type=click.Path())
@OVERRIDES
@AS_JSON
def evaluate(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Evaluate predictions against truth as a Prefect flow.

    Without a configured Prefect API the flow runs on one of its own, which ends with the command.
    """
    chosen = chosen_config(config, {}, overrides)
    provide_api()
    show_runs(show_incomplete(lambda: run_flow(chosen), as_json=as_json), as_json=as_json)


def run_flow(config: EvaluationConfig) -> list[Path]:
    """Run the flow in this process, with its progress on the terminal.

    Returns:
        The published run of each model.

    Raises:
        SegpipeError: what the flow run failed with.
    """
    # Prefect is loaded here, when its API is already on the way.
    from flows.evaluate import evaluate as evaluate_flow
    from flows.evaluate import watcher
    from segpipe.terminal import shown_progress

    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        _quiet()
    with shown_progress(sys.stderr) as progress:
        before = watcher.set(progress)
        try:
            state = evaluate_flow(config, return_state=True)
        finally:
            watcher.reset(before)
    return [Path(run) for run in cast(list[str], state.result())]


def _quiet() -> None:
    """Keep Prefect's lines off the terminal: progress, results and errors say what they say."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.CRITICAL)
