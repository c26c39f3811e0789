"""The stages of a run as plain functions; between them travels nothing but the run's path."""

from __future__ import annotations

import gc
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from segpipe.config import SIDES, EvaluationConfig, Side
from segpipe.counts.counting import PARTS_NAME, PLAN_NAME, Counted, count_task, read_context
from segpipe.counts.partials import PartialStore, write_atomically
from segpipe.counts.results import ResultsReader, write_scores
from segpipe.errors import (
    IncompleteError,
    InfrastructureError,
    InputChangedError,
    InputError,
    Problem,
    WrongCountsError,
    memory_ran_out,
    problem_list,
)
from segpipe.execution.choose import choose_cluster, group_tasks
from segpipe.execution.clusters import Pool
from segpipe.execution.loop import run_tasks
from segpipe.kernels.jit import told_of_compiling
from segpipe.metrics.conventions.scoring import (
    ConventionScore,
    chosen_conventions,
    score_conventions,
)
from segpipe.metrics.gates import GateReport, check_gates
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.planning.bucket import Bucket
from segpipe.planning.plan import Plan, make_plan
from segpipe.planning.plan_file import missing_keys, read_buckets, written_at
from segpipe.reports.base import ReportInput, write_reports
from segpipe.reports.summary import RunSummary
from segpipe.reports.text import write_json as write_report
from segpipe.run.gated import Baselines, gate_error, judge_gates
from segpipe.run.history import add_row
from segpipe.run.images import write_images
from segpipe.run.judged import GATES_NAME, stored_gates
from segpipe.run.latest import publish_latest
from segpipe.run.log import log_event
from segpipe.run.manifest import write_manifest
from segpipe.run.planned import PlanSummary, counting_context, survey
from segpipe.run.progress import SILENT, Progress, Work
from segpipe.run.provenance import run_summary
from segpipe.run.record import (
    PLANNED_NAME,
    create_run,
    end_state,
    heartbeat,
    partials_of,
    read_json,
    read_state,
    run_config,
    write_json,
    write_state,
)
from segpipe.run.reduced import RESULTS_NAME, Reduction, reduce_partials, reduction_from
from segpipe.run.scored import score_run
from segpipe.statistics.base import chosen_statistics

COUNTED_NAME = "counted.json"
REDUCED_NAME = "reduced.json"
PERFORMANCE_NAME = "dask-report.html"
PROBLEMS_NAME = "problems.json"


@dataclass(frozen=True)
class CountSummary:
    """What the count stage did.

    Attributes:
        buckets, hits: of the plan.
        counted: buckets that were counted now.
        images, pixels: in those.
        quarantined: images that could not be read, with the reason.
        given_up: buckets that hold them, or that there was no time for.
        stopped: counting ended at its deadline.
        seconds: the time it took.
    """

    buckets: int
    hits: int
    counted: int = 0
    images: int = 0
    pixels: int = 0
    quarantined: list[Problem] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0


def preview(config: EvaluationConfig) -> tuple[Plan, PlanSummary]:
    """The plan of an evaluation and its figures; nothing is written and no label map is read.

    Raises:
        InputError: everything that is wrong with the stores, at once.
        ConfigError: there is no such metric.
    """
    scoring_rules(config)
    plan = make_plan(config)
    return plan, survey(plan, partials_of(config))


def start(config: EvaluationConfig) -> Path:
    """Make the folder of a new run."""
    return create_run(config.absolute())


def plan(run: Path) -> PlanSummary:
    """Take the inventory, match images, cut buckets and write the plan into the run's folder.

    Raises:
        InputError: everything that is wrong with the stores, at once.
        ConfigError: there is no such metric; it is said before anything is counted.
    """
    with _stage(run, "plan"), _without_collection():
        config = run_config(run)
        scoring_rules(config)
        made = make_plan(config)
        summary = survey(made, partials_of(config), run / PLAN_NAME)
        write_images(run, made)
        counting_context(made, partials_of(config)).write(run)
        fill_declared = {side: made.missing_rule(side) == "are_fill_value" for side in SIDES}
        left_out = [problem.as_row() for problem in made.alignment.left_out]
        write_json(
            run / PLANNED_NAME,
            {
                "summary": asdict(summary),
                "fill_declared": fill_declared,
                "left_out": left_out,
                "metadata": {**made.inventory.metadata, **config.metadata},
            },
        )
        for warning in summary.warnings:
            log_event(run, "warning", logging.WARNING, text=warning)
        return summary


def count(
    run: Path,
    progress: Progress = SILENT,
    companions: Sequence[Path] = (),
    until: datetime | None = None,
) -> CountSummary:
    """Count every bucket of the plan that has no partial counts yet.

    `companions` are planned runs of other predictions: where they have the same truth, they are counted
    along, so that truth is read once. What could not be counted so is counted in their own turn.

    At `until` no more is begun, and what runs is let go; the run is then published as incomplete.

    Raises:
        IncompleteError: nothing at all was counted until then.
        InputChangedError: label maps changed after the inventory; what was counted of the others is kept.
        InfrastructureError: the cluster was lost; what was counted is kept.
        WrongCountsError: a recount shows that counts were wrong; those of the recount are kept.
    """
    with _stage(run, "count"):
        if companions:
            replace(read_context(run), companions=tuple(map(str, companions))).write(run)
        summary, results = _count(run, progress, until)
        write_json(run / COUNTED_NAME, asdict(summary))
        if summary.stopped and len(summary.given_up) == summary.buckets:
            message = f"nothing was counted before the deadline\n{problem_list(summary.quarantined)}"
            raise IncompleteError(message, summary.quarantined)
        if changed := _each(results, "changed"):
            raise InputChangedError(changed)
        differing = _each(results, "differing")
        if differing and read_context(run).recount.trusted:
            message = f"counts that were kept are wrong: {problem_list(differing)}"
            raise WrongCountsError(message)
        return summary


def _count(run: Path, progress: Progress, until: datetime | None) -> tuple[CountSummary, list[Counted]]:
    """Count; what was done, and what became of each part."""
    started = time.monotonic()

    def stop() -> bool:
        return until is not None and datetime.now(UTC) >= until

    results = _count_left(run, progress, stop)
    given_up = {counted.bucket for counted in results if counted.quarantined}
    # What was running when the time came may have been kept all the same.
    done = {counted.bucket for counted in results}
    late = sorted(set(_left(run)[0]) - given_up - done) if stop() else []
    planned = _planned(run)
    summary = CountSummary(
        buckets=planned.buckets,
        hits=planned.hits,
        counted=len(done),
        images=sum(counted.images for counted in results),
        pixels=sum(counted.pixels for counted in results),
        quarantined=[*_each(results, "quarantined"), *_too_late(run, late, until)],
        given_up=sorted(given_up.union(late)),
        stopped=bool(late),
        seconds=time.monotonic() - started,
    )
    return summary, results


def _count_left(run: Path, progress: Progress, stop: Callable[[], bool]) -> list[Counted]:
    """Count what has no counts yet, until there is nothing left or it is time to stop."""
    planned = _planned(run)
    left, since = _left(run)
    # Parts of an earlier try of this stage: what they hold is counted anew.
    shutil.rmtree(run / PARTS_NAME, ignore_errors=True)
    results: list[Counted] = []

    def on_done(counted: Counted) -> None:
        results.append(counted)
        _log_counted(run, counted)
        _tell_counted(progress, counted)

    progress.begin(*_work_of(planned, since))
    try:
        if left and not stop():
            cluster = choose_cluster(run_config(run).cluster, planned.estimate_s)
            with told_of_compiling(progress.remark), cluster.open() as pool:
                tasks = group_tasks(left, min(planned.tasks, len(left)))
                work = partial(count_task, str(run))
                run_tasks(pool, work, tasks, lambda bucket: _ids(run, bucket), on_done, stop)
                _keep_performance(run, pool, progress)
    finally:
        progress.end()
    return results


def _each(results: Sequence[Counted], kind: Literal["quarantined", "changed", "differing"]) -> list[Problem]:
    """The problems of one kind of all parts."""
    return [problem for counted in results for problem in getattr(counted, kind)]


def _work_of(planned: PlanSummary, since: Iterator[Bucket]) -> tuple[Work, Work]:
    """All work of a run, and what was done before: when it was planned, and `since` then."""
    held = Work(
        planned.images - planned.images_left,
        planned.pixels - planned.pixels_left,
        planned.stored_bytes - planned.stored_bytes_left,
    )
    return Work(planned.images, planned.pixels, planned.stored_bytes), sum(map(_work, since), held)


def _tell_counted(progress: Progress, counted: Counted) -> None:
    """Show how far counting is, and what went wrong."""
    for problem in counted.quarantined:
        progress.note(f"quarantined: {problem.sentence()}")
    for problem in counted.differing:
        progress.note(f"replaced: {problem.sentence()}")
    progress.advance(Work(counted.images, counted.pixels, counted.stored_bytes))


def _keep_performance(run: Path, pool: Pool, progress: Progress) -> None:
    """Keep Dask's report with the run if it was asked for; that it cannot be drawn is no reason to fail."""
    if pool.performance is None:
        return
    try:
        page = pool.performance()
    except InfrastructureError as error:
        log_event(run, "warning", logging.WARNING, text=str(error))
        progress.note(str(error))
    else:
        write_atomically(run / PERFORMANCE_NAME, page.encode())


def _log_counted(run: Path, counted: Counted) -> None:
    """Note that a bucket was counted, and which images of it could not be."""
    amount = {"images": counted.images, "pixels": counted.pixels, "stored_bytes": counted.stored_bytes}
    log_event(run, "bucket counted", bucket=counted.bucket, **amount)
    for problem in counted.quarantined:
        told = {"bucket": counted.bucket, "image": problem.image, "reason": problem.sentence()}
        log_event(run, "image quarantined", logging.WARNING, **told)
    for problem in counted.changed:
        log_event(run, "input changed", logging.ERROR, bucket=counted.bucket, reason=problem.sentence())
    for problem in counted.differing:
        log_event(run, "counts replaced", logging.ERROR, bucket=counted.bucket, reason=problem.sentence())


def _too_late(run: Path, buckets: list[int], until: datetime | None) -> Iterator[Problem]:
    """That there was no time for some buckets."""
    if buckets and until is not None:
        (first,) = read_buckets(run / PLAN_NAME, buckets[:1])
        yield Problem(
            kind="deadline",
            found=f"{len(buckets):,} buckets not counted by {until:%Y-%m-%d %H:%M %Z}, this image the first",
            image=first.ids[0],
            advice="evaluate again: what was counted is kept",
        )


def _left(run: Path) -> tuple[list[int], Iterator[Bucket]]:
    """The buckets that are still to be counted; and those that were counted after the plan was made."""
    missing, partials, anew = missing_keys(run / PLAN_NAME), _partials(run), read_context(run).recount
    there = {
        bucket: not any(map(anew.wants, keys)) and all(key in partials for key in keys)
        for bucket, keys in missing.items()
    }
    since = [bucket for bucket, counted in there.items() if counted]
    return [bucket for bucket, counted in there.items() if not counted], read_buckets(run / PLAN_NAME, since)


def _work(bucket: Bucket) -> Work:
    return Work(len(bucket.ids), bucket.pixels, bucket.stored_bytes)


def _ids(run: Path, bucket: int) -> tuple[str, ...]:
    (one,) = read_buckets(run / PLAN_NAME, [bucket])
    return one.ids


def reduce(run: Path) -> None:
    """Put the plan's partial counts together into results.zarr.

    Raises:
        InputError: labels that no rule names, or absent chunks that nothing declares, in any image.
    """
    with _stage(run, "reduce"):
        config = run_config(run)
        fill_declared: dict[Side, bool] = read_json(run / PLANNED_NAME)["fill_declared"]
        given_up = set(read_json(run / COUNTED_NAME)["given_up"])
        found = reduce_partials(run, config, _partials(run), fill_declared, given_up)
        write_json(run / REDUCED_NAME, asdict(found))


def _partials(run: Path) -> PartialStore:
    return partials_of(run_config(run))


def score(run: Path) -> None:
    """Compute the scores from the counts and add them to results.zarr."""
    with _stage(run, "score"):
        write_scores(run / RESULTS_NAME, _scores(run))


def _scores(run: Path) -> Scores:
    """The scores of a run; kept for the stage that follows in the same process."""
    return _scored(run, written_at(run / PLAN_NAME))


@lru_cache(maxsize=1)
def _scored(run: Path, planned: tuple[int, ...]) -> Scores:
    config = run_config(run)
    scores = score_run(run / RESULTS_NAME, scoring_rules(config))
    return replace(scores, conventions=_conventions(ResultsReader(run / RESULTS_NAME), config))


def _conventions(results: ResultsReader, config: EvaluationConfig) -> tuple[ConventionScore, ...]:
    if not config.conventions:
        return ()
    blocks = ((block.ids, block.cells) for block in results.blocks())
    return score_conventions(blocks, results.classes, config.conventions, weighted=results.weighted)


def scoring_rules(config: EvaluationConfig) -> ScoringRules:
    """How the counts will be scored.

    Raises:
        ConfigError: there is no such metric or convention, or a gate is on a figure that there is not.
    """
    chosen_conventions(config.conventions, config.class_list(), weighted=config.weights is not None)
    rules = ScoringRules(
        absent_class=config.absent_class,
        # `error` has been judged when the counts were reduced: there are no invalid predictions left then.
        invalid_pred="ignore" if config.invalid_pred == "ignore" else "count_as_miss",
        exclude_classes=tuple(config.classes.names[class_id] for class_id in config.excluded()),
        present=config.present,
        image_weights=config.image_weights,
        worst_percent=config.worst_percent,
        metrics=config.metrics,
        slices=config.slicings(),
        min_slice_images=config.min_slice_images,
        intervals=config.intervals,
    )
    check_gates(config.named_gates(), rules, chosen_statistics(config.statistics))
    return rules


def gate(run: Path) -> GateReport:
    """Judge a scored run under the gates of its configuration; what they said is told by `publish`."""
    with _stage(run, "gate"):
        baselines = Baselines(run, _scores(run))
        gates = run_config(run).named_gates()
        results = ResultsReader(run / RESULTS_NAME)
        report = judge_gates(gates, results, _scores(run), _summary(run).coverage, baselines)
        write_report(run / GATES_NAME, report.document())
        write_state(run, {"baselines": baselines.used})
        return report


def report(run: Path) -> None:
    """Write the reports of a scored and judged run."""
    with _stage(run, "report"):
        results, judged = ResultsReader(run / RESULTS_NAME), stored_gates(run)
        write_reports(run, ReportInput(results, _scores(run), _summary(run), _problems(run), judged))


def _summary(run: Path) -> RunSummary:
    return run_summary(run, run_config(run), _planned(run), _reduced(run), read_state(run), _scores(run))


def publish(run: Path) -> None:
    """Declare the run finished: the manifest last, then its row in the history, then `latest`.

    Raises:
        IncompleteError: more images are quarantined than `max_quarantined` allows, or counting ended at its
            deadline. The run is published as incomplete; `latest` does not move to it.
        GateError: a gate does not hold. The run is published with its verdicts; `latest` does not move to it,
            so it is no baseline of later runs.
    """
    config, quarantined = run_config(run), _reduced(run).quarantined_images
    complete = quarantined <= config.max_quarantined and not read_json(run / COUNTED_NAME)["stopped"]
    judged = stored_gates(run)
    passed = judged is None or judged.passed
    state = ("complete" if passed else "gate_failed") if complete else "incomplete"
    with _stage(run, "publish"):
        write_manifest(run)
        add_row(run, state)
        if state == "complete":
            publish_latest(run, config.date)
    end_state(run, state)
    if complete:
        if judged is not None and not judged.passed:
            raise gate_error(judged, run)
        return
    problems = _unreadable(run)
    message = (
        f"incomplete: {quarantined} of {_planned(run).images} images could not be counted "
        f"(max_quarantined: {config.max_quarantined}); the report is in {run}\n{problem_list(problems)}"
    )
    raise IncompleteError(message, problems, str(run))


def fail(run: Path, error: BaseException) -> None:
    """Note in the run's folder how it failed, if that can still be written; whatever was counted stays."""
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    # Where the disk is full this fails as well; the error that is told is the first one.
    with suppress(OSError, InfrastructureError):
        log_event(run, f"run {state}", logging.ERROR, error=str(error) or type(error).__name__)
        end_state(run, state, error=str(error) or type(error).__name__)
        if isinstance(error, InputError):
            write_json(run / PROBLEMS_NAME, [problem.as_row() for problem in error.problems])


def _planned(run: Path) -> PlanSummary:
    return PlanSummary(**read_json(run / PLANNED_NAME)["summary"])


def _reduced(run: Path) -> Reduction:
    return reduction_from(read_json(run / REDUCED_NAME))


def _problems(run: Path) -> list[Problem]:
    """Everything that was found wrong and that the settings allowed."""
    left_out = [Problem(**row) for row in read_json(run / PLANNED_NAME)["left_out"]]
    found = _reduced(run)
    return [*left_out, *_unreadable(run), *found.skipped, *found.absent, *found.invalid]


def _unreadable(run: Path) -> list[Problem]:
    """Why images could not be counted."""
    rows = read_json(run / COUNTED_NAME)["quarantined"]
    return [Problem(**row) for row in rows] + _reduced(run).quarantined


@contextmanager
def _without_collection() -> Iterator[None]:
    """Look for no garbage in cycles: among the many small things that a plan is made of there is none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _stage(run: Path, name: str) -> Iterator[None]:
    """Note in run.json that a stage runs, that it still does, and how long it took."""
    started = time.monotonic()
    log_event(run, "stage began", stage=name)
    try:
        write_state(run, {"state": name})
        with heartbeat(run):
            yield
    except OSError as error:
        message = (
            f"{name}: {error} ({run}); what was counted is kept: mend this and run the same command again"
        )
        raise InfrastructureError(message) from error
    except MemoryError as error:
        raise memory_ran_out(error) from error
    seconds = round(time.monotonic() - started, 3)
    write_state(run, {"timings": read_state(run).get("timings", {}) | {name: seconds}})
    log_event(run, "stage ended", stage=name, seconds=seconds)
