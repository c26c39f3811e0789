"""The kinds of faults. Each takes a trial, does the fault at a random moment and says what became of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from tests.execution.dask_processes import dask_processes
from tests.faults.driver import VARIABLE, pred_hash
from tests.faults.trial import IMAGES, LOCAL, MARK, PRELOAD, THREADS, Outcome, Trial, send
from tests.sources.servers import BUCKET, Bucket, faulty, s3_environment, s3_service

LOST = "what was counted is kept, run the same command again"
NO_ROOM = "(File too large|No space left).*(run the same command again|make room|choose another)"
INTERRUPTED = "what was counted is kept, and the same command goes on from there"


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        title: for the table.
        what: what is done, in a sentence.
        seen: what the user sees.
        run: does it.
        share: how often it is chosen, relative to others.
    """

    title: str
    what: str
    seen: str
    run: Callable[[Trial], Outcome]
    share: int = 1


def worker_killed(trial: Trial) -> Outcome:
    trial.cluster = LOCAL
    trial.start()
    moment = trial.random_moment(only_counting=True)
    workers = trial.workers()
    if workers:
        send(trial.chance.choice(workers), signal.SIGKILL)
    return trial.finish(moment, {0: ""})


def all_workers_killed(trial: Trial) -> Outcome:
    trial.cluster = LOCAL
    trial.start()
    moment = trial.random_moment(only_counting=True)
    for worker in trial.workers():
        send(worker, signal.SIGKILL)
    return trial.finish(moment, {0: ""})


def worker_frozen(trial: Trial) -> Outcome:
    trial.cluster = LOCAL
    trial.settings |= {"ttl": "2 s"}
    trial.start()
    moment = trial.random_moment(only_counting=True)
    workers = trial.workers()
    if workers:
        send(trial.chance.choice(workers), signal.SIGSTOP)
    return trial.finish(moment, {0: ""})


def scheduler_lost(trial: Trial, number: signal.Signals, settings: dict[str, object]) -> Outcome:
    trial.settings |= settings
    with ExitStack() as stack:
        running = stack.enter_context(dask_processes(trial.folder, 1, environment=trial.surroundings()))
        trial.cluster = {"kind": "address", "address": running.address, "workers": 1}
        trial.start()
        moment = trial.random_moment(only_counting=True)
        running.scheduler.send_signal(number)
        trial.ended()
    return trial.finish(moment, {0: "", 4: LOST})


def driver_signalled(trial: Trial, number: signal.Signals, *, group: bool = False) -> Outcome:
    trial.cluster = trial.chance.choice([THREADS] * 4 + [LOCAL])
    process = trial.start()
    moment = trial.random_moment()
    if process.poll() is None and group:
        os.killpg(process.pid, number)
    else:
        send(process, number)
    killed = number == signal.SIGKILL
    return trial.finish(moment, {0: "", -9: ""} if killed else {0: "", 130: INTERRUPTED})


def storage_fails(trial: Trial) -> Outcome:
    with s3_service() as port, faulty(port) as proxy:
        for side in ("truth", "pred"):
            Bucket(port, f"a/{side}.zarr").upload(trial.dataset.folder / f"{side}.zarr")
        trial.environment |= s3_environment(proxy.port, timeout="1")
        trial.changes |= {side: f"s3://{BUCKET}/a/{side}.zarr::labels" for side in ("truth", "pred")}
        fault = trial.chance.choice(["503 SlowDown", "reset", "cut", "hang", "429"])
        number = trial.chance.choice([1, 3, 1000])
        trial.start()
        moment = trial.random_moment(only_counting=True)
        proxy.times(fault, number, of="/labels/c/")
        trial.ended()
        proxy.plan = lambda method, path: None
        before = dict(os.environ)
        os.environ.update(s3_environment(proxy.port, timeout="120"))
        try:
            return trial.finish(f"{moment}, {fault} {number} times", {0: "", 4: "same command"})
        finally:
            os.environ.clear()
            os.environ.update(before)


def image_kills(trial: Trial) -> Outcome:
    trial.cluster = LOCAL
    image = trial.chance.randrange(IMAGES)
    trial.settings |= {"deadly": pred_hash(trial.dataset.pred[image : image + 1]), "slow_s": 0}
    trial.start()
    return trial.finish(f"image {image}", {3: "counting this image killed its worker twice"})


def disk_full(trial: Trial) -> Outcome:
    if trial.chance.random() < 0.5:
        trial.results.mkdir()
        pages = trial.chance.randrange(4, 100)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", str(trial.results)]
        # Only root may do this, and not everywhere.
        if shutil.which("mount") and not subprocess.run(mount, capture_output=True).returncode:
            return _small_filesystem(trial, f"disk of {4 * pages} KiB")
    size = int(2 ** trial.chance.uniform(7, 14.5))
    trial.settings |= {"file_bytes": size}
    trial.cluster = trial.chance.choice([THREADS] * 4 + [LOCAL])
    trial.start()
    return trial.finish(f"no file above {size} bytes", {0: "", 4: NO_ROOM})


def _small_filesystem(trial: Trial, moment: str) -> Outcome:
    place = str(trial.results)
    try:
        trial.start()
        trial.ended()
        subprocess.run(["mount", "-o", "remount,size=64m", place], check=True)
        return trial.finish(moment, {0: "", 4: NO_ROOM})
    finally:
        subprocess.run(["umount", place], check=True)


def clock_moved(trial: Trial) -> Outcome:
    shift = trial.chance.choice([-1, 1]) * 10 ** trial.chance.uniform(0, 7)
    at = trial.chance.choice([0, trial.chance.randrange(IMAGES)])
    trial.settings |= {"clock_s": shift, "clock_at": at - 1, "slow_s": 0}
    trial.start()
    return trial.finish(f"{shift:+.0f} s from bucket {at} on", {0: ""})


def two_runs(trial: Trial) -> Outcome:
    kills = trial.chance.random() < 0.3
    trial.start()
    trial.wait_counted(trial.chance.choice([0, 0, 5, 20]))
    second = trial.start()
    moment = "two at once"
    if kills:
        moment = f"two at once, one killed with {trial.random_moment()}"
        send(second, signal.SIGKILL)
    return trial.finish(moment, {0: "", -9: ""})


def cancelled(trial: Trial) -> Outcome:
    trial.cluster = LOCAL
    keep = ("PATH", "HOME", "PYTHONPATH", "NUMBA_CACHE_DIR", MARK, VARIABLE, *PRELOAD)
    service = trial.service()
    surroundings = {**service.environment, **trial.surroundings()}
    environment = {name: surroundings[name] for name in keep if name in surroundings}
    run = service.run({"config": trial.config().model_dump(mode="json")}, environment)
    number = trial.chance.randrange(1, IMAGES - 8)
    service.wait(run, lambda: trial.counted() >= number)
    service.cancel(run)
    service.wait(run, lambda: False)
    states = {"prefect": service.state(run), "run": trial.states()[-1]["state"]}
    outcome = trial.finish(f"{number} buckets counted", {})
    ended = ("CANCELLED", "interrupted"), ("COMPLETED", "complete")
    wrong = [] if tuple(states.values()) in ended else [f"ended as {states}"]
    return replace(outcome, said=str(states), wrong=(*outcome.wrong, *wrong))


def partial_damaged(trial: Trial) -> Outcome:
    process = trial.start()
    moment = trial.random_moment(only_counting=True)
    send(process, signal.SIGKILL)
    process.wait()
    for path in sorted(trial.partials.glob("*/[0-9a-f]*")):
        if trial.chance.random() < 0.3:
            data = bytearray(path.read_bytes())
            at = trial.chance.randrange(len(data))
            data[at] ^= 1 << trial.chance.randrange(8)
            path.write_bytes(data if trial.chance.random() < 0.5 else data[:at])
    return trial.finish(moment, {0: "", -9: ""})


KINDS: dict[str, Kind] = {
    "worker_killed": Kind("worker killed", "SIGKILL to one of two workers", "nothing", worker_killed, 4),
    "all_workers_killed": Kind(
        "all workers killed",
        "SIGKILL to both workers at once",
        "nothing",
        all_workers_killed,
        4,
    ),
    "worker_frozen": Kind("worker frozen", "SIGSTOP to one of two workers", "a pause", worker_frozen, 2),
    "scheduler_gone": Kind(
        "scheduler gone",
        "SIGKILL to the scheduler of a cluster by address",
        "exit 4, the cluster was lost",
        partial(scheduler_lost, number=signal.SIGKILL, settings={}),
        2,
    ),
    "scheduler_frozen": Kind(
        "scheduler frozen",
        "SIGSTOP to the scheduler of a cluster by address",
        "exit 4, no worker",
        partial(scheduler_lost, number=signal.SIGSTOP, settings={"patience_s": 4}),
    ),
    "driver_killed": Kind(
        "driver killed",
        "SIGKILL to the process that drives",
        "the process is gone",
        partial(driver_signalled, number=signal.SIGKILL),
        10,
    ),
    "ctrl_c": Kind(
        "Ctrl-C",
        "SIGINT to all processes of the run",
        "exit 130, interrupted",
        partial(driver_signalled, number=signal.SIGINT, group=True),
        7,
    ),
    "terminated": Kind(
        "SIGTERM",
        "SIGTERM to the process that drives",
        "exit 130, interrupted",
        partial(driver_signalled, number=signal.SIGTERM),
        7,
    ),
    "storage_fails": Kind(
        "storage failing for a while",
        "503, 429, resets, cut answers, hangs of an S3 service",
        "nothing, or exit 4 if it takes too long",
        storage_fails,
        6,
    ),
    "image_kills": Kind(
        "image that kills its worker",
        "whatever process counts a certain image is killed",
        "exit 3; the image is quarantined, all others are counted",
        image_kills,
        2,
    ),
    "disk_full": Kind(
        "disk full on results",
        "a small file system, or a limit on the size of files",
        "exit 4, what cannot be written and what to do",
        disk_full,
        10,
    ),
    "clock_moved": Kind(
        "clock moved",
        "the clock jumps by a second to a hundred days, forth or back",
        "nothing",
        clock_moved,
        8,
    ),
    "two_runs": Kind(
        "two runs of one suite at once",
        "a second process evaluates the same; sometimes it is killed",
        "nothing; both are published",
        two_runs,
        8,
    ),
    "cancelled": Kind(
        "cancelled from Prefect",
        "a flow run of a deployment is cancelled; server, pool and worker are real",
        "state Cancelled; run.json says interrupted",
        cancelled,
        1,
    ),
    "partial_damaged": Kind(
        "partial counts damaged",
        "bits flipped and files cut, after the driver was killed",
        "nothing; they are counted again",
        partial_damaged,
        6,
    ),
}
