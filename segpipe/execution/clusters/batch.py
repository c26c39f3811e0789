"""Dask workers as jobs of a batch system: SLURM, PBS, Moab, LSF, SGE (dask-jobqueue, the extra `batch`).

A configuration may come from elsewhere, so none of its options can put a command into a job: what jobs need
before they start (modules, an environment, further directives) is said in Dask's own configuration, key
`jobqueue.<kind>.job-script-prologue` and the like.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, DirectoryPath, Field

from segpipe.errors import ConfigError
from segpipe.execution.clusters.base import CLUSTERS, DaskOptions, MemoryBytes, Pool
from segpipe.execution.clusters.starting import CLOSE_S, started

if TYPE_CHECKING:
    from distributed import Security

SCHEDULER_S = 120
"""How long the scheduler in this process may take, and the submission of the jobs."""

LOST_JOB_S = 60
"""A job whose worker has been away for this long is submitted again."""

JOBS_FOLDER = "segpipe-jobs"
"""Below the shared folder: what the jobs print."""

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*$", max_length=200)]
"""What stands in a job script: nothing that a shell or a batch system would take for more than a word."""


def _plain_path(path: Path) -> Path:
    if not str(path.absolute()).isprintable() or set(str(path.absolute())) & set(
        " \t'\"\\$`;&|<>(){}*?[]#!~"
    ):
        message = f"{path} stands in job scripts: choose a folder without blanks and special characters"
        raise ValueError(message)
    return path.absolute()


class Batch(DaskOptions):
    """Options: `jobs`, `workers_per_job`, `memory_limit` of a worker, `queue`, `account`, `walltime`, ...

    `interface` is the network interface (`ib0`) by which the nodes reach this machine. Everything between
    scheduler, workers and this process is encrypted with keys made for the run; they lie, readable for this
    user alone, below `shared_folder`, which the nodes must see under the same path (default: the current
    folder), until the run ends; what the jobs print stays there in `segpipe-jobs`. The first job may wait in
    the queue for `start_timeout_s`.
    """

    system: ClassVar[str]
    account_key: ClassVar[str] = "account"

    jobs: int = Field(default=4, ge=1, le=4096)
    workers_per_job: int = Field(default=1, ge=1, le=1024)
    memory_limit: MemoryBytes = 4 << 30
    queue: Word | None = None
    account: Word | None = None
    walltime: Word = "01:00:00"
    interface: Word | None = None
    shared_folder: Annotated[DirectoryPath, AfterValidator(_plain_path)] = Field(
        default=Path(), validate_default=True
    )
    start_timeout_s: float = Field(default=1800, gt=0)

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.jobs * self.workers_per_job

    def memory_per_slot(self) -> int:
        """The limit of a worker."""
        return self.memory_limit

    def words(self) -> str:
        """The cluster in a few words."""
        return f"{self.jobs} jobs of {self.system.removesuffix('Cluster')} ({self.slots()} workers)"

    def settings(self) -> dict[str, Any]:
        """What a job is made of, in the words of dask-jobqueue."""
        own = {"queue": self.queue, self.account_key: self.account, "interface": self.interface}
        return {
            "cores": self.workers_per_job,
            "processes": self.workers_per_job,
            "memory": f"{self.memory_limit * self.workers_per_job}B",
            "walltime": self.walltime,
            **{key: value for key, value in own.items() if value is not None},
        }

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Start a scheduler in this process, submit the jobs, and wait for the first of them."""
        jobqueue = _jobqueue()
        import dask

        from segpipe.execution.clusters.dask_pool import DASK_SETTINGS, cluster_pool

        what = f"the cluster of {self.jobs} {self.system.removesuffix('Cluster')} jobs"
        advice = (
            f"Look at the queue, at what the jobs print ({self.shared_folder / JOBS_FOLDER}) and at `queue`, "
            "`account`, `walltime`"
        )
        lost = {"distributed.deploy.lost-worker-timeout": f"{LOST_JOB_S} s"}
        with _private_folder(self.shared_folder) as folder, dask.config.set({**DASK_SETTINGS, **lost}):
            cluster = started(lambda: self._submitted(jobqueue, folder), SCHEDULER_S, what, advice)
            no_workers = f"no job of {what} has started within {self.start_timeout_s:g} s. {advice}"
            with cluster_pool(
                cluster,
                self.slots(),
                first_worker_s=self.start_timeout_s,
                no_workers=no_workers,
                performance=self.performance_report,
                patience_s=self.start_timeout_s,
            ) as pool:
                yield pool

    def _submitted(self, jobqueue: Any, folder: Path) -> Any:
        """A scheduler with as many jobs as there shall be; one that ends too early is submitted again."""
        import dask

        from segpipe.execution.clusters.dask_pool import LOOPBACK_DASHBOARD, THREAD_LIMITS

        kind = getattr(jobqueue, self.system)
        of_site = dask.config.get(f"jobqueue.{kind.job_cls.config_name}")
        refused: list[Exception] = []
        limits = [f"export {name}={value}" for name, value in THREAD_LIMITS.items()]
        cluster = kind(
            **self.settings(),
            job_cls=_telling(kind.job_cls, refused),
            job_script_prologue=[*(of_site.get("job-script-prologue") or []), *limits],
            worker_extra_args=[*(of_site.get("worker-extra-args") or []), "--no-dashboard"],
            scheduler_options={
                "dashboard_address": LOOPBACK_DASHBOARD,
                **(of_site.get("scheduler-options") or {}),
            },
            security=_security(folder),
            log_directory=str(self.shared_folder / JOBS_FOLDER),
            silence_logs=logging.CRITICAL,
        )
        try:
            cluster.scale(jobs=self.jobs)
            cluster.sync(_all_submitted, cluster)
            if refused:
                raise refused[0]
            cluster.adapt(minimum_jobs=self.jobs, maximum_jobs=self.jobs)
        except BaseException:
            with suppress(Exception):
                cluster.close(CLOSE_S)
            raise
        return cluster


def _telling(job: Any, refused: list[Exception]) -> Any:
    """A kind of job that keeps what the batch system says against it; Dask would only log that."""
    from distributed.core import Status

    class Telling(job):  # type: ignore[misc]
        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                refused.append(error)
                # A job that neither runs nor failed would keep the cluster from being closed.
                self.status = Status.failed
                raise

    return Telling


async def _all_submitted(cluster: Any) -> None:
    await cluster


def _jobqueue() -> Any:
    """The library, which is an extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import cryptography  # noqa: F401  # makes the keys
        import dask_jobqueue
    except ImportError as error:
        message = f"jobs of a batch system need the extra: pip install 'segpipe[batch]' ({error})"
        raise ConfigError(message) from None
    return dask_jobqueue


def _security(folder: Path) -> Security:
    """Keys made for one run, as files in a folder that only this user can read."""
    import distributed

    parts = distributed.Security.temporary().get_tls_config_for_role("worker")
    paths = {}
    for name in ("ca_file", "cert", "key"):
        paths[name] = folder / f"{name}.pem"
        paths[name].touch(mode=0o600)
        paths[name].write_text(parts[name])
    each = {
        f"tls_{role}_{name}": str(paths[name])
        for role in ("scheduler", "worker", "client")
        for name in ("cert", "key")
    }
    return distributed.Security(tls_ca_file=str(paths["ca_file"]), require_encryption=True, **each)


@contextmanager
def _private_folder(above: Path) -> Iterator[Path]:
    """A new folder that only this user can read, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".segpipe-keys-", dir=above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@CLUSTERS.register("slurm")
class Slurm(Batch):
    """SLURM (sbatch)."""

    system = "SLURMCluster"


@CLUSTERS.register("pbs")
class Pbs(Batch):
    """PBS and its kind (qsub)."""

    system = "PBSCluster"


@CLUSTERS.register("moab")
class Moab(Batch):
    """Moab (msub)."""

    system = "MoabCluster"


@CLUSTERS.register("lsf")
class Lsf(Batch):
    """LSF (bsub)."""

    system, account_key = "LSFCluster", "project"


@CLUSTERS.register("sge")
class Sge(Batch):
    """Grid Engine (qsub)."""

    system, account_key = "SGECluster", "project"
