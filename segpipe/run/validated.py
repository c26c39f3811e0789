"""Validate: everything that is wrong with a configuration and its stores, before a night is spent on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from segpipe.config import SIDES, EvaluationConfig, Side
from segpipe.counts.checking import Checked, CheckedPart, check_task
from segpipe.counts.counting import Counted
from segpipe.errors import IncompleteError, InputError, Problem, problem_list
from segpipe.execution.choose import choose_cluster, estimate_s, tasks_needed
from segpipe.execution.loop import Task, run_tasks
from segpipe.planning.bucket import Bucket
from segpipe.planning.plan import Plan, make_plan
from segpipe.run.planned import PlanSummary, counting_context, look_through, too_much
from segpipe.run.progress import SILENT, Progress, Work
from segpipe.run.record import partials_of
from segpipe.run.reduced import is_error, judge
from segpipe.run.stages import scoring_rules
from segpipe.sources.claims import stray_objects


@dataclass
class Validated:
    """What was looked at, and what was found that the settings allow.

    Attributes:
        summary: the plan in figures.
        warnings: what the user should know.
        read: what was read; None: no label map was.
        allowed: damage, absent chunks and labels outside the rules that would not stop an evaluation.
    """

    summary: PlanSummary
    warnings: list[str]
    read: Work | None = None
    allowed: list[Problem] = field(default_factory=list)

    def words(self) -> dict[str, str]:
        """What was looked at, for people."""
        summary = self.summary
        checked = {
            "images": f"{summary.images:,}, matched by {summary.aligned_by}, of equal shapes",
            "objects": f"{summary.objects:,} found, {summary.absent_objects:,} absent",
        }
        if self.read is not None:
            checked["read"] = f"{self.read.images:,} images, {self.read.pixels:,} pixels of either side"
        return checked


def validate(config: EvaluationConfig, *, deep: bool = False, progress: Progress = SILENT) -> Validated:
    """Check a configuration and its stores; nothing is written.

    Args:
        config: what would be evaluated.
        deep: read every chunk of the images to evaluate once, on the cluster of the configuration.
        progress: is told how far the reading is.

    Raises:
        InputError: what an evaluation would stop for, all of it at once, with what is damaged.
        IncompleteError: only more damaged images than `max_quarantined` allows.
        ConfigError: there is no such metric.
    """
    progress.stage("plan")
    scoring_rules(config)
    plan = make_plan(config.absolute())
    summary, problems = look_through(plan, partials_of(plan.config))
    heavy = too_much(plan, summary) if deep or summary.images_left else []
    if heavy or (problems and not deep):
        raise InputError(problems + heavy)
    validated = Validated(summary, [*summary.warnings, *_strays(plan)])
    if deep:
        progress.stage("read")
        _judge(plan, problems, _read_all(plan, summary, progress), validated)
    return validated


def _strays(plan: Plan) -> Iterator[str]:
    for name, images in plan.inventory.image_sets.items():
        strays = stray_objects(images.arrays, images.objects)
        if strays:
            yield (
                f"Objects below the arrays of {name} are no chunks of theirs ({len(strays):,}, such as "
                f"{strays[0]}): a shape was made smaller in the metadata only, or something else lies there."
            )


@dataclass
class _Findings:
    """What reading every chunk found."""

    read: Work = field(default_factory=Work)
    damaged: list[Problem] = field(default_factory=list)
    changed: list[Problem] = field(default_factory=list)
    documents: dict[tuple[str, str], Problem] = field(default_factory=dict)
    absent: list[Problem] = field(default_factory=list)
    invalid: list[Problem] = field(default_factory=list)
    weights: list[Problem] = field(default_factory=list)


def _read_all(plan: Plan, summary: PlanSummary, progress: Progress) -> _Findings:
    """Read every chunk once on the cluster, and judge the counts as they come in."""
    config, found = plan.config, _Findings()
    fill_declared: dict[Side, bool] = {side: plan.missing_rule(side) == "are_fill_value" for side in SIDES}
    waiting: dict[int, Bucket] = {}

    def on_done(counted: Counted) -> None:
        # A bucket of which only a part came back was cut, because it killed a worker; there are few.
        whole = isinstance(counted, Checked) and counted.whole
        bucket = waiting.pop(counted.bucket) if whole else waiting[counted.bucket]
        found.damaged += counted.quarantined
        found.changed += counted.changed
        if isinstance(counted, Checked):
            found.documents |= {(each.side, each.array): each for each in counted.documents}
            if counted.partial is not None:
                verdict = judge(bucket, counted.partial, config, fill_declared)
                found.absent += [problem for problem in verdict.absent if _all_objects_there(bucket, problem)]
                found.invalid += verdict.invalid
                found.weights += verdict.wrong_weights
        work = Work(counted.images, counted.pixels, counted.stored_bytes)
        found.read += work
        progress.advance(work)

    progress.begin(Work(summary.images, summary.pixels, summary.stored_bytes), Work())
    seconds = estimate_s(summary.decoded_bytes, summary.objects)
    cluster = choose_cluster(config.cluster, seconds)
    try:
        with cluster.open() as pool:
            tasks = _tasks(plan, tasks_needed(len(plan), seconds, cluster.slots()), waiting)
            work = partial(check_task, counting_context(plan, partials_of(config)))
            run_tasks(pool, work, tasks, lambda number: waiting[number].ids, on_done)
    finally:
        progress.end()
    return found


def _tasks(plan: Plan, tasks: int, waiting: dict[int, Bucket]) -> Iterator[Task]:
    """All buckets in runs, made when they are asked for; those that are under way are in `waiting`."""
    length = -(-len(plan) // tasks)
    buckets = plan.buckets()
    while chosen := list(islice(buckets, length)):
        waiting |= {bucket.number: bucket for bucket in chosen}
        yield tuple(CheckedPart(bucket.number, planned=bucket) for bucket in chosen)


def _all_objects_there(bucket: Bucket, problem: Problem) -> bool:
    """Whether an image lacks only parts of shards; objects that are absent were told before."""
    at = bucket.ids.index(problem.image)
    side = bucket.truth if problem.side == "truth" else bucket.pred
    objects = side.objects[side.array[at]]
    return all(objects[key] is not None for key in side.units_of(at, bucket.sizes[at]))


def _judge(plan: Plan, problems: list[Problem], found: _Findings, validated: Validated) -> None:
    """Raise what an evaluation would end with; keep what it would allow."""
    config = plan.config
    errors = [*problems, *found.documents.values(), *found.changed, *found.weights]
    errors += found.absent if config.missing_chunks == "error" else []
    errors += [problem for problem in found.invalid if is_error(problem, config)]
    damaged = len({problem.image for problem in found.damaged})
    if errors:
        raise InputError(errors + found.damaged)
    if damaged > config.max_quarantined:
        message = (
            f"{damaged} of {plan.images} images cannot be read (max_quarantined: {config.max_quarantined})\n"
            f"{problem_list(found.damaged)}"
        )
        raise IncompleteError(message, found.damaged)
    validated.read = found.read
    validated.allowed = [*found.damaged, *found.absent, *found.invalid]
