"""A real SLURM on this machine: jobs that are workers, jobs that are killed, jobs that never start.

Daemons, key, ports, state and logs are the test's own. Needed are the packages slurmctld, slurmd,
slurm-client and munge, and root, as whom jobs are started.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import distributed  # noqa: F401  # reads the environment before a test changes it
import pytest

from segpipe.errors import InfrastructureError
from segpipe.run.evaluate import evaluate
from tests.run.datasets import figures, image_ids, label_maps, pair_config, write_stacked

NEEDED = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
LONG_S = 300.0
IMAGES = 40

missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"needs the packages {', '.join(missing)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it starts the daemons of SLURM"),
]

CONFIGURATION = """\
ClusterName=segpipe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2048 State=UNKNOWN
PartitionName=night Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL MaxTime=INFINITE State=DOWN
"""

WORKER = "segpipe_slow_worker"
SLOW = """
import time
from segpipe.counts import counting

if not hasattr(counting.count_images, "slow"):
    real = counting.count_images

    def count_images(*given):
        time.sleep(0.2)
        return real(*given)

    count_images.slow = True
    counting.count_images = count_images
"""


@dataclass(frozen=True)
class SlurmNode:
    """A SLURM of one node."""

    folder: Path

    def command(self, *words: str) -> str:
        """What a command of SLURM prints."""
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout

    def jobs(self) -> list[str]:
        """The numbers of the jobs that run."""
        return self.command("squeue", "--noheader", "--states=running", "--format=%i").split()

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """A SLURM that answers and has an idle node."""
    folder = tmp_path_factory.mktemp("slurm")
    node = SlurmNode(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    control, own = _free_ports(2)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, control=control, node=own, folder=folder)
    )
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        places = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={folder}/munge.{name}" for option, name in places.items()]
        stack.enter_context(_daemon(folder, "munged", "--foreground", "--force", *options))
        _until(lambda: (folder / "munge.socket").exists(), node)
        stack.enter_context(_daemon(folder, "slurmctld", "-D", "-i"))
        stack.enter_context(_daemon(folder, "slurmd", "-D", "-N", host))
        _until(lambda: "idle" in _states(node), node)
        yield node


@contextmanager
def _daemon(folder: Path, program: str, *words: str) -> Iterator[None]:
    """A daemon in the foreground, ended with the tests."""
    with (folder / f"{program}.out.log").open("wb") as log:
        process = subprocess.Popen([program, *words], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _states(node: SlurmNode) -> str:
    try:
        return node.command("sinfo", "--noheader", "--format=%t")
    except subprocess.SubprocessError:
        return ""


def _until(condition: Callable[[], bool], node: SlurmNode) -> None:
    until = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < until, node.logs()
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Truth and predictions in buckets of one image each."""
    folder = tmp_path_factory.mktemp("data")
    for name, labels in zip(("truth", "pred"), label_maps(IMAGES), strict=True):
        chunks = (1, *labels.shape[1:])
        write_stacked(folder / f"{name}.zarr", labels, chunks=chunks, ids=image_ids(IMAGES))
    return folder


@pytest.fixture(scope="module")
def reference(dataset: Path) -> dict[str, bytes]:
    """The figures of threads."""
    return figures(evaluate(pair_config(dataset, results=f"{dataset}/reference", bucket_images=1)))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Two jobs of one worker each, which counts slowly."""
    (tmp_path / f"{WORKER}.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", f'["{WORKER}"]')
    shared = tmp_path / "shared"
    shared.mkdir()
    return {
        "kind": "slurm",
        "jobs": 2,
        "memory_limit": "512 MiB",
        "queue": "night",
        "walltime": "00:30:00",
        "interface": "lo",
        "shared_folder": str(shared),
        "start_timeout_s": 240,
    }


def test_jobs_count_and_leave_nothing_behind(
    slurm: SlurmNode, dataset: Path, reference: dict[str, bytes], cluster: dict[str, object], tmp_path: Path
) -> None:
    """The same bytes as in threads; no job and no key is left."""
    config = pair_config(dataset, results=f"{tmp_path}/results", bucket_images=1, cluster=cluster)
    seen: list[list[str]] = []
    thread = Thread(target=lambda: _until(lambda: bool(seen.append(slurm.jobs()) or seen[-1]), slurm))
    thread.start()
    run = evaluate(config)
    thread.join(LONG_S)
    assert figures(run) == reference
    assert seen[-1]
    _until(lambda: not slurm.jobs(), slurm)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["segpipe-jobs"]


def test_a_killed_job_is_replaced(
    slurm: SlurmNode,
    dataset: Path,
    reference: dict[str, bytes],
    cluster: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a cluster that preempts jobs does it; with one job there is nobody else to go on."""
    monkeypatch.setattr("segpipe.execution.clusters.batch.LOST_JOB_S", 5)
    partials = tmp_path / "results" / "partials"
    killed: list[str] = []

    def kill() -> None:
        _until(lambda: len(list(partials.glob("*/*"))) > 2, slurm)
        killed.extend(slurm.jobs())
        slurm.command("scancel", "--signal=KILL", *killed)

    thread = Thread(target=kill)
    thread.start()
    one = {**cluster, "jobs": 1}
    run = evaluate(pair_config(dataset, results=f"{tmp_path}/results", bucket_images=1, cluster=one))
    thread.join(LONG_S)
    assert killed
    assert figures(run) == reference


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"queue": "closed", "start_timeout_s": 5},
            r"no job of .* 2 SLURM jobs has started within 5 s.*queue",
        ),
        ({"queue": "nosuch", "start_timeout_s": 60}, r"(?s)SLURM jobs.*invalid partition"),
    ],
)
def test_jobs_that_do_not_start_are_told(
    slurm: SlurmNode,
    dataset: Path,
    cluster: dict[str, object],
    tmp_path: Path,
    changes: dict[str, object],
    said: str,
) -> None:
    """In words and in time; the jobs are taken back."""
    chosen = {**cluster, **changes}
    with pytest.raises(InfrastructureError, match=said):
        evaluate(pair_config(dataset, results=f"{tmp_path}/results", bucket_images=1, cluster=chosen))
    assert slurm.command("squeue", "--noheader", "--states=pending,running", "--format=%i").split() == []
