"""Measure the counting stage against loops that a user would write over the same stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
from numpy.typing import NDArray

from segpipe.config import load_config
from segpipe.counts.counting import PLAN_NAME, count_task
from segpipe.execution.choose import group_tasks
from segpipe.execution.clusters import Pool
from segpipe.execution.clusters.dask_pool import DASK_SETTINGS, client_pool
from segpipe.execution.clusters.threads import Threads
from segpipe.execution.loop import run_tasks
from segpipe.planning.plan_file import read_keys
from segpipe.run import stages
from segpipe.run.record import partials_of
from tests.bench import commands, loops
from tests.bench.document import met, table
from tests.bench.scale import Scale
from tests.bench.stores import NUM_CLASSES, Form, dataset, write_config, write_stacked
from tests.bench.timing import Timing, computing, take_turns

METHOD = """{images} pairs of smooth label maps of {height} x {width}, {classes} classes, zstd with
checksum, in memory already; every way gives the same matrix (asserted). Wall and CPU time per pair, ways in
turns, medians of {repeats}. Left out: start-up of Python, of clusters (started and warmed before) and
compiling; opening the stores is left out of segpipe's stage, which is given a plan of buckets of {bucket}
images, and is part of the loops. scikit-learn is given {few} pairs, and its time per pair is taken for all.
Clusters are on this machine, one thread to a worker, and all ways use the same one; a worker of segpipe
reads in a second thread while the first one counts, so that one worker keeps more than one core busy, and
the scheduler is on these cores too. torchmetrics is no dependency of this project and is not measured."""

BINCOUNT = "2 threads, zarr-python + np.bincount"
KERNEL = "2 threads, zarr-python + segpipe's kernel"
DIRECT = "2 threads, files + numcodecs + segpipe's kernel"
DASK = "Dask, 2 workers: xarray + dask.array + np.bincount"
SKLEARN = "1 thread, zarr-python + scikit-learn"
ONE_CORE, TWO_CORES = "computing alone, 1 thread", "computing alone, 2 threads"
ONE_THREAD, TWO_THREADS = "segpipe, threads: 1", "segpipe, threads: 2"
ONE_WORKER, TWO_WORKERS = "segpipe, Dask, 1 worker", "segpipe, Dask, 2 workers"


@dataclass(frozen=True)
class Target:
    """How much longer `slow` must take than `fast`; `times` below 1: how much longer `fast` may take."""

    slow: str
    fast: str
    times: float


TARGETS = (
    Target(DASK, TWO_WORKERS, 5),
    Target(DIRECT, TWO_WORKERS, 1 / 1.2),
    Target(KERNEL, TWO_WORKERS, 1 / 1.2),
    Target(ONE_WORKER, TWO_WORKERS, 1.75),
    Target(ONE_THREAD, TWO_THREADS, 1.75),
)


def section(scale: Scale) -> str:
    """The tables as Markdown."""
    forms = Form(), Form(shard=min(16, scale.images))
    height, width = scale.size
    method = METHOD.format(
        images=scale.images,
        height=height,
        width=width,
        classes=NUM_CLASSES,
        repeats=scale.repeats,
        bucket=scale.bucket_images,
        few=scale.sklearn_images,
    )
    return "\n\n".join([method, *(_of_form(form, scale) for form in forms)])


def _of_form(form: Form, scale: Scale) -> str:
    with dataset(lambda folder: write_stacked(folder, scale.images, scale.size, form)) as folder:
        timings = measure(folder, form, scale)
        lines = [
            f"### {form.words()}",
            ways_table(timings),
            targets_table(timings),
            commands_table(folder, scale),
        ]
    return "\n\n".join(lines)


def measure(folder: Path, form: Form, scale: Scale) -> dict[str, Timing]:
    """The time of each way, per image."""
    with ExitStack() as opened:
        one, two = (opened.enter_context(_cluster(workers)) for workers in (1, 2))
        ways = {**_loops(folder, form, scale.images), DASK: partial(loops.with_dask, folder, two)}
        config = write_config(folder, bucket_images=scale.bucket_images)
        for name, pool in (
            (ONE_THREAD, opened.enter_context(Threads(threads=1).open())),
            (TWO_THREADS, opened.enter_context(Threads(threads=2).open())),
            (ONE_WORKER, opened.enter_context(client_pool(one, 1))),
            (TWO_WORKERS, opened.enter_context(client_pool(two, 2))),
        ):
            ways[name] = _count_stage(config, pool)
        computed = {ONE_CORE: partial(computing, 1), TWO_CORES: partial(computing, 2)}
        few = partial(_one_after_the_other, folder, scale.sklearn_images)
        timings = take_turns({**ways, **computed}, scale.repeats)
        sklearn = take_turns({SKLEARN: few}, 1)
    _same({name: timings[name].result for name in ways})
    _same({"few": _few(folder, scale.sklearn_images), SKLEARN: sklearn[SKLEARN].result})
    return {name: _per_image(timing, scale.images) for name, timing in timings.items()} | {
        SKLEARN: _per_image(sklearn[SKLEARN], scale.sklearn_images)
    }


def ways_table(timings: Mapping[str, Timing]) -> str:
    """Every way with its times, and how they compare with segpipe on two workers."""
    ours = timings[TWO_WORKERS]
    rows = [
        [
            name,
            f"{1e3 * each.seconds:.2f}",
            f"{1e3 * each.cpu_s:.2f}",
            f"{each.cpu_s / each.seconds:.2f}",
            f"{each.seconds / ours.seconds:.2f}",
        ]
        for name, each in timings.items()
        if name not in (ONE_CORE, TWO_CORES)
    ]
    head = ["way", "wall ms per pair", "CPU ms per pair", "cores busy", f"x {TWO_WORKERS}"]
    return table(head, rows)


def targets_table(timings: Mapping[str, Timing]) -> str:
    """What was asked for, and whether it holds."""
    rows = []
    for target in TARGETS:
        if target.slow in timings:
            times = timings[target.slow].seconds / timings[target.fast].seconds
            what, found, wanted = (
                f"{target.fast} against {target.slow}",
                times,
                f"{target.times:.2f} x as fast",
            )
            rows.append([what, f"{found:.2f} x as fast", f"at least {wanted}", met(times >= target.times)])
    free = timings[ONE_CORE].seconds / timings[TWO_CORES].seconds
    rows.append(["2 threads that only compute against 1, meanwhile", f"{free:.2f} x as fast", "", ""])
    return table(["what", "measured", "target", "met"], rows)


def commands_table(folder: Path, scale: Scale) -> str:
    """The whole command, with nothing counted before and again with everything counted."""
    config = write_config(folder)
    cold, again = [], []
    for _ in range(max(1, scale.repeats // 2)):
        shutil.rmtree(folder / "results", ignore_errors=True)
        cold.append(commands.run([*commands.SEGPIPE, "evaluate", config]).seconds)
        again.append(commands.run([*commands.SEGPIPE, "evaluate", config]).seconds)
    rows = [
        ["`segpipe evaluate`, nothing counted before", f"{np.median(cold):.2f}"],
        ["the same command again, nothing changed", f"{np.median(again):.2f}"],
    ]
    return table(["whole command, start of Python and all stages", "wall s"], rows)


def _loops(folder: Path, form: Form, images: int) -> dict[str, Callable[[], Any]]:
    read, direct = loops.zarr_reader(folder), loops.direct_reader(folder)
    ways = {
        BINCOUNT: partial(loops.in_threads, read, loops.with_bincount, images),
        KERNEL: partial(loops.in_threads, read, loops.with_kernel, images),
    }
    if form == Form():
        ways[DIRECT] = partial(loops.in_threads, direct, loops.with_kernel, images)
    return ways


def _count_stage(config: Path, pool: Pool) -> Callable[[], Any]:
    """Count all buckets of a plan; a function that gives the matrix of what was counted."""
    run = stages.start(load_config(config))
    summary = stages.plan(run)
    keys = read_keys(run / PLAN_NAME)
    buckets = keys["bucket"].to_pylist()

    def count() -> Callable[[], NDArray[np.int64]]:
        tasks = group_tasks(buckets, min(summary.tasks, len(buckets)))
        run_tasks(pool, partial(count_task, str(run)), tasks, lambda _: (), lambda _: None)
        return partial(_counted, run, keys["key"].to_pylist())

    return count


def _counted(run: Path, keys: list[str]) -> NDArray[np.int64]:
    partials = partials_of(load_config(run / "config.resolved.yaml"))
    total = sum(partials.read(key).counts.cells.total() for key in keys)
    return total[:NUM_CLASSES, :NUM_CLASSES]


def _one_after_the_other(folder: Path, images: int) -> NDArray[np.int64]:
    read = loops.zarr_reader(folder)
    return sum(loops.with_sklearn(*read(image)) for image in range(images))


def _few(folder: Path, images: int) -> NDArray[np.int64]:
    read = loops.zarr_reader(folder)
    return sum(loops.with_bincount(*read(image)) for image in range(images))


def _same(results: Mapping[str, Any]) -> None:
    matrices = {name: result() if callable(result) else result for name, result in results.items()}
    first = next(iter(matrices.values()))
    different = [name for name, matrix in matrices.items() if not np.array_equal(matrix, first)]
    if different:
        message = f"other counts than {next(iter(matrices))}: {', '.join(different)}"
        raise AssertionError(message)


def _per_image(timing: Timing, images: int) -> Timing:
    return Timing(timing.seconds / images, timing.cpu_s / images, timing.result)


@contextmanager
def _cluster(workers: int) -> Iterator[distributed.Client]:
    """Worker processes of one thread, under the settings that segpipe starts its own with."""
    with (
        dask.config.set(DASK_SETTINGS),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        with distributed.Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(workers)
            yield client
