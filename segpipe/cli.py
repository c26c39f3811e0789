"""The `segpipe` command: arguments in, stages run, tables or one JSON document out, and a stable exit code.

Exit codes: 0 done, 1 usage, configuration or data, 2 gate failed, 3 incomplete, 4 infrastructure,
130 interrupted.
Nothing heavy is imported before a command needs it: the help answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from segpipe.errors import (
    EXIT_GATE,
    EXIT_INFRASTRUCTURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    SHOWN_PROBLEMS,
    GateError,
    IncompleteError,
    InputError,
    Problem,
    SegpipeError,
    memory_ran_out,
)
from segpipe.reports.text import finite, printable_lines

if TYPE_CHECKING:
    from rich.console import Console

    from segpipe.config import EvaluationConfig
    from segpipe.metrics.comparison import Comparison
    from segpipe.run.compared import CompareConfig
    from segpipe.run.opened import Run

Command = TypeVar("Command", bound=Callable[..., Any])

TRACEBACK, LOG = "SEGPIPE_TRACEBACK", "SEGPIPE_LOG"
RESUMES = "what was counted is kept, and the same command goes on from there"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    sys.exit(
        guarded(lambda: commands.main(words, "segpipe", standalone_mode=False), as_json="--json" in words)
    )


# What every command line of the project shares: errors in words, exit codes, signals.


def guarded(work: Callable[[], object], *, as_json: bool) -> int:
    """Do a command's work; whatever goes wrong becomes one message and an exit code.

    Args:
        work: returns an exit code, or anything else for success.
        as_json: the message also goes to the output stream, as the one JSON document there.
    """
    with _signals() as seen:
        try:
            result = _logged(work)
            return result if isinstance(result, int) else EXIT_OK
        except click.exceptions.Exit as done:
            return done.exit_code
        except BaseException as error:
            return _told(error, interrupted=bool(seen), as_json=as_json)


def _logged(work: Callable[[], object]) -> object:
    """Do a command's work, with its events on the error stream where SEGPIPE_LOG asks for that."""
    if not os.environ.get(LOG, ""):
        return work()
    from segpipe.run.log import logging_to_stderr

    with logging_to_stderr():
        return work()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGTERM interrupts like SIGINT; the list tells afterwards whether one of them came.

    A signal that the caller of this process ignores (a job in the background) stays ignored.
    """
    seen: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    changed = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield seen
    finally:
        for number, before in changed.items():
            signal.signal(number, before)


def _told(error: BaseException, *, interrupted: bool, as_json: bool) -> int:
    """Tell what went wrong, and the exit code that goes with it."""
    if interrupted:
        # Whatever broke because of the signal (a worker that got it too), the signal is the reason.
        error = KeyboardInterrupt()
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        traceback.print_exception(error)
    kind, message, code = _explained(error)
    # Nothing is imported here: a signal may have come while NumPy was, and left half of it.
    print(f"{'' if code == EXIT_INTERRUPTED else 'error: '}{printable_lines(message)}", file=sys.stderr)
    if as_json:
        problems = [problem.as_row() for problem in getattr(error, "problems", [])]
        run = {"run": error.run} if isinstance(error, (GateError, IncompleteError)) and error.run else {}
        document = {"kind": kind, "message": message, "exit_code": code, "problems": problems, **run}
        print_json({"error": document})
    return code


def _explained(error: BaseException) -> tuple[str, str, int]:
    """Kind, message and exit code of an error."""
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "Interrupted", f"interrupted: {RESUMES}", EXIT_INTERRUPTED
    if isinstance(error, click.UsageError):
        hint = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return "UsageError", f"{error.format_message().rstrip('.')}{hint}", EXIT_INPUT
    if isinstance(error, click.ClickException):
        return "UsageError", error.format_message(), EXIT_INPUT
    if isinstance(error, SegpipeError):
        message = "\n".join([str(error), *getattr(error, "__notes__", [])])
        return type(error).__name__, message, error.exit_code
    if isinstance(error, MemoryError):
        return "MemoryError", str(memory_ran_out(error)), EXIT_INFRASTRUCTURE
    words = " ".join(str(error).split()) or "no further words"
    message = f"unexpected {type(error).__name__}: {words} ({TRACEBACK}=1 shows where)"
    return type(error).__name__, message, EXIT_INFRASTRUCTURE


def answer(document: Callable[[], object], show: Callable[[Console], None], *, as_json: bool) -> None:
    """Print what a command has to say: one JSON document, or text and tables for people."""
    if as_json:
        print_json(document())
        return
    from segpipe.terminal import results_console

    with _printing():
        show(results_console())


def print_json(document: object) -> None:
    """Write the one JSON document of a command; a figure that is not defined (NaN) is null."""
    with _printing():
        print(json.dumps(finite(document), indent=1, ensure_ascii=False, allow_nan=False))


@contextmanager
def _printing() -> Iterator[None]:
    """A reader that has gone (`segpipe report RUN | head`) ends a command in silence."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer goes nowhere; Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(EXIT_OK) from None


# A configuration from a file, from options, or from both.


def _number_or_name(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> int | str | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else value


OVERRIDES = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key (a.b reaches inside)."
)
AS_JSON = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on the output, nothing else."
)
STORES = (
    click.option("--truth", metavar="STORE[::ARRAY]", help="Zarr store of the true label maps."),
    click.option("--pred", metavar="STORE[::ARRAY]", help="Zarr store of the predicted label maps."),
    click.option(
        "--classes", callback=_number_or_name, help="How many, a shipped list (cityscapes) or a YAML file."
    ),
    click.option("--ignore", "ignore_labels", type=int, multiple=True, help="True label that takes no part."),
    click.option(
        "--void", "void_labels", type=int, multiple=True, help="Predicted label that names no class."
    ),
    click.option(
        "--layout", help="How images lie in the stores: stacked (default), grouped, nested, raster, volume."
    ),
    click.option("--results", metavar="DIR", help="Folder of the results (default: results)."),
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


CONFIGURED = _with(
    click.argument("config", required=False, type=click.Path()),
    *STORES,
    OVERRIDES,
    AS_JSON,
)


COMPARED = _with(
    click.argument("a", type=click.Path()),
    click.argument("b", type=click.Path()),
    click.option("--metric", "metrics", multiple=True, help="Compare this metric (default: the main ones)."),
    click.option(
        "--by", multiple=True, metavar="COLUMN", help="Also compare slices; two columns are crossed."
    ),
    click.option(
        "--cluster-by", metavar="COLUMN", help="Images of one value are drawn and swapped together."
    ),
    click.option("--common", is_flag=True, help="Compare what both have, where the runs differ."),
    click.option("--output", type=click.Path(), help="Also write a report: FILE.html, FILE.md or FILE.json."),
    AS_JSON,
)


def chosen_config(file: str | None, options: Mapping[str, Any], overrides: Sequence[str]) -> EvaluationConfig:
    """The configuration of a command line: the file, over it the options, over them `--set`."""
    from segpipe.config import make_config
    from segpipe.yaml_files import read_yaml

    given = _given(options)
    if file is None:
        missing = [f"--{name}" for name in ("truth", "pred", "classes") if name not in given]
        if missing and not overrides:
            message = f"without a configuration file, {', '.join(missing)} must be given"
            raise click.UsageError(message, click.get_current_context(silent=True))
        return make_config(given, overrides, source="command line")
    values = read_yaml(Path(file))
    return make_config({**values, **given} if isinstance(values, Mapping) else values, overrides, source=file)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in options.items()
        if value not in (None, ())
    }


# The commands.


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segpipe", prog_name="segpipe")
def commands() -> None:
    """Evaluate semantic segmentation at dataset scale, from Zarr stores of label maps.

    \b
    segpipe evaluate --truth truth.zarr::labels --pred pred.zarr::labels --classes 19 --ignore 255
    segpipe init evaluation.yaml && segpipe evaluate evaluation.yaml

    Exit codes: 0 done, 1 usage, configuration or data, 2 gate failed, 3 incomplete, 4 infrastructure,
    130 interrupted.
    """


@commands.command()
@click.argument("file", default="evaluation.yaml", type=click.Path())
@_with(*STORES, AS_JSON)
def init(file: str, as_json: bool, **options: Any) -> None:
    """Write a commented configuration to begin with.

    FILE is evaluation.yaml if not said. An existing file is not overwritten.
    """
    from segpipe.run.starter import write_starter

    write_starter(Path(file), _given(options))
    said = f"wrote {file}; check it with: segpipe validate {file}"
    answer(lambda: {"config": file}, lambda console: console.print(said, soft_wrap=True), as_json=as_json)


@commands.command()
@CONFIGURED
@click.option("--deep", is_flag=True, help="Read every chunk of the images once, on the cluster.")
def validate(
    config: str | None, overrides: tuple[str, ...], as_json: bool, deep: bool, **options: Any
) -> None:
    """Check a configuration and its stores; list all that is wrong.

    Nothing is written. Without --deep no label map is read; with it damaged and changed chunks, parts of
    shards that were never written and labels outside the rules are found as well.
    """
    from segpipe.run.progress import SILENT
    from segpipe.run.validated import validate as check
    from segpipe.terminal import show_pairs, shown_progress

    chosen = chosen_config(config, options, overrides)
    with shown_progress(sys.stderr) if deep else nullcontext(SILENT) as progress:
        found = check(chosen, deep=deep, progress=progress)
    checked = {
        "configuration": f"{len(chosen.classes.names)} classes, layout {chosen.layout}",
        "truth": str(chosen.truth),
        "pred": str(chosen.pred),
        **found.words(),
    }
    allowed = [f"allowed by the settings: {problem.sentence()}" for problem in found.allowed]
    if len(allowed) > SHOWN_PROBLEMS:
        allowed[SHOWN_PROBLEMS:] = [f"... and {len(allowed) - SHOWN_PROBLEMS} more (all of them with --json)"]
    rows = [problem.as_row() for problem in found.allowed]
    answer(
        lambda: {"ok": True, "checked": checked, "warnings": found.warnings, "problems": rows},
        lambda console: show_pairs(console, "OK", list(checked.items()), found.warnings + allowed),
        as_json=as_json,
    )


@commands.command()
@click.argument("store", metavar="STORE[::PATH]")
@AS_JSON
def inspect(store: str, as_json: bool) -> None:
    """Show what lies in a Zarr store, and the lines of a configuration to evaluate it.

    A few chunks are read, spread over each array; nothing is written.
    """
    from segpipe.run.inspected import inspect as look
    from segpipe.store_tables import show_inspected

    found = look(store)
    answer(lambda: asdict(found), lambda console: show_inspected(console, found), as_json=as_json)


@commands.command()
@CONFIGURED
def plan(config: str | None, overrides: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what an evaluation would read and count.

    Nothing is written and no label map is read.
    """
    from segpipe.run.stages import preview
    from segpipe.terminal import show_pairs

    _, summary = preview(chosen_config(config, options, overrides))
    answer(
        lambda: asdict(summary),
        lambda console: show_pairs(console, "Plan", summary.rows(), summary.warnings),
        as_json=as_json,
    )


@commands.command()
@CONFIGURED
@click.option("--no-cache", is_flag=True, help="Count everything anew (cache.use=false).")
@click.option(
    "--verify-cache",
    metavar="PERCENT",
    help="Count so many of a hundred buckets again, and compare (cache.verify_percent=PERCENT).",
)
def evaluate(
    config: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    no_cache: bool,
    verify_cache: str | None,
    **options: Any,
) -> None:
    """Evaluate predictions against truth.

    What has been counted already is not read again: the same command goes on where one was stopped.
    """
    from segpipe.run.evaluate import evaluate_models
    from segpipe.terminal import shown_progress

    overrides += ("cache.use=false",) * no_cache
    if verify_cache is not None:
        overrides += (f"cache.verify_percent={verify_cache.removesuffix('%')}",)
    chosen = chosen_config(config, options, overrides)
    with shown_progress(sys.stderr) as progress:
        paths = show_incomplete(lambda: evaluate_models(chosen, progress=progress), as_json=as_json)
    show_runs(paths, as_json=as_json)


def show_incomplete(evaluate: Callable[[], list[Path]], *, as_json: bool) -> list[Path]:
    """Evaluate; if the run is published and incomplete or fails a gate, show it before the error says so."""
    try:
        return evaluate()
    except (IncompleteError, GateError) as error:
        if not as_json:
            show_run(Path(error.run), as_json=False)
        raise


@commands.command()
@click.argument("run", type=click.Path())
@click.option("--conventions", is_flag=True, help="What other tools would print, and why it differs.")
@click.option("--intervals", is_flag=True, help="Between which values each score lies.")
@AS_JSON
def report(run: str, conventions: bool, intervals: bool, as_json: bool) -> None:
    """Print the tables of a finished run.

    RUN is its folder, or RESULTS/SUITE/MODEL for the latest one.
    """
    if conventions:
        show_conventions(Path(run), as_json=as_json)
    elif intervals:
        show_intervals(Path(run), as_json=as_json)
    else:
        show_run(Path(run), as_json=as_json)


def show_conventions(path: Path, *, as_json: bool) -> None:
    """Print what other tools would print of the same label maps, from the counts of a run."""
    from segpipe.run.opened import open_run
    from segpipe.terminal import print_conventions

    run = open_run(path)
    scores = run.conventions()
    answer(
        lambda: {"run": str(run.path), "conventions": [one.document() for one in scores]},
        lambda console: print_conventions(console, scores),
        as_json=as_json,
    )


def show_intervals(path: Path, *, as_json: bool) -> None:
    """Print between which values each score of a run lies: as its configuration says, or by bootstrap."""
    from segpipe.reports.kinds.scores_json import scores_document
    from segpipe.run.opened import open_run
    from segpipe.terminal import print_intervals

    run = open_run(path)
    scores = run.intervals()
    answer(
        lambda: {"run": str(run.path)} | scores_document(scores, run.summary),
        lambda console: print_intervals(console, scores),
        as_json=as_json,
    )


def show_run(path: Path, *, as_json: bool) -> None:
    """Print the results of a run: its tables and where the report is, or one JSON document."""
    from segpipe.run.opened import open_run
    from segpipe.terminal import show_results

    run = open_run(path)
    answer(lambda: run_document(run), lambda console: show_results(console, run), as_json=as_json)


def show_runs(paths: list[Path], *, as_json: bool) -> None:
    """Print the results of the runs of several models, one after the other; as JSON, under their names."""
    from segpipe.run.opened import open_run

    if len(paths) > 1 and as_json:
        runs = [open_run(path) for path in paths]
        answer(
            lambda: {run.summary.model: run_document(run) for run in runs}, lambda console: None, as_json=True
        )
        return
    for path in paths:
        show_run(path, as_json=as_json)


def run_document(run: Run) -> dict[str, Any]:
    """A run as one plain document: where it is, and the scores with what they average."""
    from segpipe.reports.kinds.scores_json import scores_document

    document = scores_document(run.computed, run.summary)
    return {
        "run": str(run.path),
        "report": str(run.path / "report.md"),
        "report_html": str(run.path / "report.html"),
        "warnings": run.summary.warnings,
        "gates": None if run.gates is None else run.gates.document(),
    } | document


@commands.command()
@COMPARED
def compare(a: str, b: str, output: str | None, as_json: bool, **asked: Any) -> None:
    """Compare run B with run A over the same images.

    A and B are folders of runs, or RESULTS/SUITE/MODEL for the latest one. Every score with its difference,
    the interval of that, and p of a sign-flip permutation test; per class, slice and image. Runs whose
    images, classes, rules or truth differ are refused.
    """
    from segpipe.run.compared import compare_configured

    chosen = compare_config(a, b, asked)
    show_compared(lambda: compare_configured(chosen), output, as_json=as_json)


def compare_config(a: str, b: str, asked: Mapping[str, Any]) -> CompareConfig:
    """The comparison that a command line asks for, by its options."""
    from segpipe.config import checked
    from segpipe.run.compared import CompareConfig

    given = _given(asked)
    cluster_by = given.pop("cluster_by", None)
    if cluster_by is not None:
        given["intervals"] = {"cluster_by": cluster_by}
    return checked(CompareConfig, {"a": a, "b": b, **given}, source="command line")


def show_compared(compare: Callable[[], Comparison], output: str | None, *, as_json: bool) -> None:
    """Compare, write the report that was asked for, and print the tables."""
    from segpipe.comparison_tables import show_comparison
    from segpipe.reports.comparison import comparison_document
    from segpipe.reports.comparison_files import write_comparison

    found = compare()
    if output is not None:
        write_comparison(Path(output), found)
    answer(
        lambda: comparison_document(found),
        lambda console: show_comparison(console, found, output),
        as_json=as_json,
    )


@commands.command()
@click.argument("results", default="results", type=click.Path())
@click.option("--suite", help="Only this suite.")
@click.option("--model", help="Only this model.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only this day and later ones.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Only this day and earlier ones.")
@AS_JSON
def history(
    results: str,
    suite: str | None,
    model: str | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Show the published runs of each model, and whether its score rises or falls.

    RESULTS is the folder of the results. The day of a run is the `date` of its configuration, or the day it
    started; the trend is that of the complete runs.
    """
    from segpipe.history_tables import show_history
    from segpipe.run.history import history_document, read_history

    if not Path(results).is_dir():
        raise InputError(
            Problem(kind="results", found="no such folder", expected="the `results:` of runs", store=results)
        )
    rows = read_history(
        Path(results), suite, model, since.date() if since else None, until.date() if until else None
    )
    answer(lambda: history_document(rows), lambda console: show_history(console, rows), as_json=as_json)


@commands.command()
@click.argument("run", type=click.Path())
@click.argument("config", required=False, type=click.Path())
@AS_JSON
def gate(run: str, config: str | None, as_json: bool) -> int:
    """Judge a finished run under gates.

    RUN is its folder, or RESULTS/SUITE/MODEL for the latest one; its own gates are judged, or those of the
    configuration CONFIG. Nothing is written. A gate that does not hold is exit code 2.
    """
    from segpipe.run.gated import gate as judge
    from segpipe.terminal import print_gates

    report = judge(run, config)
    answer(report.document, lambda console: print_gates(console, report), as_json=as_json)
    return EXIT_OK if report.passed else EXIT_GATE


@commands.command()
@click.argument("results", default="results", type=click.Path())
@click.option("--remove", is_flag=True, help="Remove the counts that no run names and that are old.")
@click.option("--keep-days", type=float, metavar="DAYS", help="How old they must be (default: 14).")
@click.option("--verify", type=int, metavar="BUCKETS", help="Count so many of each model again, and compare.")
@AS_JSON
def cache(results: str, remove: bool, keep_days: float | None, verify: int | None, as_json: bool) -> int:
    """Show the kept counts of a results folder; tidy up, and compare some with a recount.

    RESULTS is the folder of the results. Counts are kept as long as a published run names them. What is not
    as it was written is exit code 4.
    """
    from segpipe.config import checked
    from segpipe.run.maintenance import MaintenanceConfig, maintenance

    asked = {"keep_days": keep_days, "verify_buckets": verify or 0, "dry_run": not remove}
    done = maintenance(
        checked(MaintenanceConfig, {"results": results} | _given(asked), source="command line")
    )
    answer(
        done.document,
        lambda console: console.print(done.text(), markup=False, soft_wrap=True),
        as_json=as_json,
    )
    return done.exit_code


@commands.command("import")
@click.argument("source", type=click.Path())
@click.argument("store", type=click.Path())
@click.option("--preset", metavar="NAME", help="Rules of a dataset: cityscapes, voc, ade20k, or a YAML file.")
@click.option("--glob", multiple=True, metavar="PATTERN", help="Which files are label maps ('*_labels.png').")
@click.option(
    "--id", "id_pattern", metavar="REGEX", help="Finds the id in a file's path, in its first group."
)
@click.option(
    "--classes", callback=_number_or_name, help="How many, a shipped list (cityscapes) or a YAML file."
)
@click.option("--no-class", type=int, multiple=True, help="Label that may occur and names no class.")
@click.option("--cluster", metavar="NAME", help="Where it runs: threads, local, or a YAML file.")
@AS_JSON
def import_(source: str, store: str, as_json: bool, **options: Any) -> None:
    """Bring a folder of PNG, TIFF or NumPy label maps to Zarr.

    SOURCE is the folder, STORE the new store; the label maps are then STORE::labels. Palettes are not
    applied; colours become labels by the colours of the classes. What was written is read back and compared.
    The same command goes on where it was stopped.
    """
    from segpipe.run.imported import import_command
    from segpipe.terminal import show_pairs, shown_progress

    with shown_progress(sys.stderr, "imported") as progress:
        done = import_command(source, store, _given(options), progress)
    answer(
        lambda: asdict(done), lambda console: show_pairs(console, "Imported", done.rows()), as_json=as_json
    )


@commands.command()
@AS_JSON
def metrics(as_json: bool) -> None:
    """List the metrics, and the statistics that can be counted beside the confusion matrix.

    Of each figure: formula, range, good end, and what it is where there is nothing to score; of each
    statistic what is summed, what must be read for it, and its parameters. Metrics go into the key `metrics`
    of a configuration, statistics into `statistics`, the names of all figures into `Run.score` and gates.
    """
    from segpipe.metrics.base import chosen_metrics
    from segpipe.statistics.base import STATISTICS
    from segpipe.statistics.described import described
    from segpipe.terminal import print_metrics

    known, kinds = chosen_metrics(None), [STATISTICS[name] for name in sorted(STATISTICS)]
    answer(
        lambda: {
            "metrics": [one.document() for one in known],
            "statistics": [described(kind) for kind in kinds],
        },
        lambda console: print_metrics(console, known, kinds),
        as_json=as_json,
    )


@commands.command()
@click.argument("config", required=False, type=click.Path())
@_with(OVERRIDES, AS_JSON)
def doctor(config: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Check this machine, and say what to do.

    Looks at versions, caches, ports, memory, cores and workers; with CONFIG also at its stores, its cluster
    and its results folder. A failed check is exit code 4.
    """
    from segpipe.run.doctor import examine
    from segpipe.terminal import findings_table

    findings = examine(chosen_config(config, {}, overrides) if config else None)
    well = all(finding.state != "fail" for finding in findings)
    answer(
        lambda: {"ok": well, "findings": [asdict(finding) for finding in findings]},
        lambda console: console.print(findings_table(findings)),
        as_json=as_json,
    )
    return EXIT_OK if well else EXIT_INFRASTRUCTURE
