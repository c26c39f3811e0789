"""Kinds of clusters: what their options become, how they start and end, and that TLS is held to."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import dask_jobqueue
import jsonschema
import numba
import psutil
import pytest
import yaml

from segpipe.config import ClusterConfig, make_config
from segpipe.counts import workers
from segpipe.errors import ConfigError, InfrastructureError
from segpipe.execution.clusters import cluster_options
from segpipe.execution.clusters.batch import Batch, _private_folder
from segpipe.execution.clusters.dask_pool import THREAD_LIMITS
from segpipe.execution.clusters.kubernetes import Kubernetes
from segpipe.execution.clusters.starting import started
from segpipe.resources import config_names
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from tests.execution.certificates import write_certificates
from tests.execution.dask_processes import DaskProcesses, dask_processes
from tests.run.datasets import figures, pair_config

BATCH = ("slurm", "pbs", "moab", "lsf", "sge")


def options(kind: str, **values: Any) -> Any:
    """The checked options of a kind."""
    return cluster_options(ClusterConfig.model_validate({"kind": kind, **values}))


@pytest.mark.parametrize("name", config_names("clusters"))
def test_every_shipped_cluster_is_right_as_it_stands(name: str, tmp_path: Path) -> None:
    """`cluster: slurm` and so on: the file is found by name, and its kind takes its options."""
    config = make_config(
        {"truth": "t.zarr", "pred": "p.zarr", "classes": 2, "cluster": name, "results": str(tmp_path)}
    )
    assert config.cluster.kind == name
    chosen = cluster_options(config.cluster)
    assert chosen.slots() >= 1
    assert chosen.memory_per_slot() >= 1 << 28


# ---- start and end


class Slow:
    """A cluster that starts when it is let, and remembers that it was closed."""

    def __init__(self) -> None:
        self.go, self.closed = threading.Event(), threading.Event()

    def start(self) -> Slow:
        self.go.wait(60)
        return self

    def close(self, timeout: float) -> None:
        self.closed.set()


def test_a_start_that_hangs_is_given_up_and_closed_when_it_comes() -> None:
    """The message says how long was waited and what to do; nothing is left running."""
    slow = Slow()
    with pytest.raises(InfrastructureError, match=r"the cluster did not start within 0\.05 s\. Look there"):
        started(slow.start, 0.05, "the cluster", "Look there")
    assert not slow.closed.is_set()
    slow.go.set()
    assert slow.closed.wait(60)


def test_a_start_that_fails_is_told_in_words() -> None:
    def fail() -> Slow:
        message = "sbatch: error: no such partition"
        raise RuntimeError(message)

    with pytest.raises(InfrastructureError, match=r"did not start \(RuntimeError: sbatch: error: no such"):
        started(fail, 60, "the cluster", "Look there")


def facts() -> dict[str, Any]:
    """What a worker knows about itself."""
    own = psutil.Process()
    listens = [found.laddr.ip for found in own.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    limits = {name: os.environ.get(name) for name in THREAD_LIMITS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    told = {"numba": numba.get_num_threads(), "listens": listens, "pid": own.pid}
    return {"limits": limits, "deaf to Ctrl-C": signal.SIGINT in blocked, **told}


def test_local_workers_use_one_thread_listen_on_loopback_and_end_with_the_cluster() -> None:
    """Also when an error ends it."""
    cluster = options("local", workers=1).open()
    pool = cluster.__enter__()
    found = pool.executor.submit(facts).result(120)
    here = psutil.Process().net_connections("tcp")
    assert cluster.__exit__(KeyError, KeyError(), None) is not True
    assert found["limits"] == dict(THREAD_LIMITS)
    assert found["numba"] == 1
    assert found["deaf to Ctrl-C"], "from before it imports anything: then a traceback would be printed"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert set(found["listens"]) == {"127.0.0.1"}
    listening = [each.laddr.ip for each in here if each.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) == {"127.0.0.1"}
    assert not psutil.pid_exists(found["pid"])


# ---- a scheduler and a worker as processes, with TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_certificates(tmp_path_factory.mktemp("tls") / "own")


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: dict[str, str]
) -> Iterator[DaskProcesses]:
    """A scheduler and a worker that speak to nobody without a certificate of our authority."""
    with dask_processes(tmp_path_factory.mktemp("dask"), 1, certificates) as running:
        yield running


def test_a_cluster_with_tls_gives_the_same_bytes(
    pair: Path, encrypted: DaskProcesses, certificates: dict[str, str]
) -> None:
    """And the files of the run hold the paths of the certificates, not what is in them."""
    assert encrypted.address.startswith("tls://")
    there = pair_config(
        pair, cluster={"kind": "address", "address": encrypted.address, "tls": certificates, "workers": 1}
    )
    run = evaluate(there)
    assert figures(run) == figures(evaluate(pair_config(pair, results=f"{pair}/here")))
    secret = Path(certificates["key"]).read_text().splitlines()[1].encode()
    assert not [
        path for path in (pair / "results").rglob("*") if path.is_file() and secret in path.read_bytes()
    ]


def test_strangers_are_refused(
    pair: Path,
    encrypted: DaskProcesses,
    certificates: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate of another authority, and no certificate at all."""
    monkeypatch.setattr("segpipe.execution.clusters.address.CONNECT_S", 3)
    stranger = write_certificates(tmp_path / "other")
    for own in ({**stranger, "ca_file": certificates["ca_file"]}, None):
        address = encrypted.address if own else encrypted.address.replace("tls://", "tcp://")
        config = pair_config(pair, cluster={"kind": "address", "address": address, "tls": own})
        with pytest.raises(InfrastructureError, match=r"scheduler at .* does not answer"):
            evaluate(config)


def test_certificates_and_addresses_that_do_not_fit_are_told(certificates: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"tls: .* belongs to an address tls://"):
        options("address", address="tls://host:8786")
    with pytest.raises(ConfigError, match=r"tls: .* belongs to an address tls://"):
        options("address", address="tcp://host:8786", tls=certificates)
    with pytest.raises(ConfigError, match=r"tls\.key: path does not point to a file"):
        options("address", address="tls://host:8786", tls={**certificates, "key": "/no/such.pem"})


def test_a_worker_of_another_version_or_without_the_folder_counts_nothing(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partials would stand under keys that promise other code."""
    config = pair_config(pair)
    run = stages.start(config)
    stages.plan(run)
    context = json.loads((run / "counting.json").read_text())
    (run / "counting.json").write_text(json.dumps({**context, "code": "segpipe 0.0.1, counting 0"}))
    with pytest.raises(InfrastructureError, match=r"runs segpipe .*made by segpipe 0\.0\.1.*same version"):
        stages.count(run)
    assert not list((pair / "results" / "partials").rglob("*"))
    with pytest.raises(InfrastructureError, match=r"does not see .*nowhere.* under the same path"):
        workers.check_sees(pair / "nowhere")


# ---- batch systems


def script(chosen: Batch, folder: Path) -> str:
    """The script of a job."""
    cluster_class = getattr(dask_jobqueue, chosen.system)
    job = cluster_class.job_cls("tls://127.0.0.1:1", name="one", **chosen.settings())
    return str(job.job_script())


@pytest.mark.parametrize("kind", BATCH)
def test_a_job_asks_for_what_its_workers_need(kind: str, tmp_path: Path) -> None:
    """One core for each worker, the memory of all of them, and the words of the configuration."""
    chosen = options(
        kind, workers_per_job=2, memory_limit="3 GiB", queue="night", account="vision", walltime="02:03"
    )
    text = script(chosen, tmp_path)
    assert "--nthreads 1" in text
    assert "--nworkers 2" in text
    assert "--memory-limit 3.00GiB" in text
    assert all(word in text for word in ("night", "vision", "02:03"))
    assert chosen.slots() == 8


@pytest.mark.parametrize("word", ["a b", "x\nrm -rf .", "$(id)", "`id`", ";id", "-p", "a'b"])
@pytest.mark.parametrize("key", ["queue", "account", "walltime", "interface"])
def test_no_option_puts_a_command_into_a_job(key: str, word: str) -> None:
    """A configuration may come from elsewhere."""
    with pytest.raises(ConfigError, match=rf"cluster \(slurm\)\.{key}: string should match pattern"):
        options("slurm", **{key: word})


def test_keys_lie_in_a_private_folder_that_goes_away(tmp_path: Path) -> None:
    """Whatever ends the run; and a folder whose name a shell would take apart is refused."""
    keys = _private_folder(tmp_path)
    folder = keys.__enter__()
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "key").write_text("secret")
    assert keys.__exit__(KeyError, KeyError(), None) is not True
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a b").mkdir()
    with pytest.raises(ConfigError, match="without blanks and special characters"):
        options("slurm", shared_folder=str(tmp_path / "a b"))


# ---- Kubernetes


def test_the_manifest_is_what_the_operator_takes() -> None:
    """Checked against the schema of the operator, with nothing that it does not know."""
    chosen: Kubernetes = options(
        "kubernetes",
        image="registry.example/segpipe:1",
        memory_limit="6 GiB",
        volumes=[
            {"claim": "maps", "mount": "/data", "read_only": True},
            {"claim": "out", "mount": "/results"},
        ],
        secrets=["object-store"],
        service_account="segpipe",
    )
    manifest = chosen.manifest("segpipe-1")
    schema = jsonschema.Draft7Validator(operator_schema())
    schema.validate(manifest)
    (worker,) = manifest["spec"]["worker"]["spec"]["containers"]
    assert worker["resources"]["limits"] == {"cpu": "1", "memory": str(6 << 30)}
    assert {"name": "NUMBA_NUM_THREADS", "value": "1"} in worker["env"]
    assert worker["envFrom"] == [{"secretRef": {"name": "object-store"}}]
    assert worker["securityContext"]["runAsNonRoot"]
    worker["no_such_field"] = 1
    with pytest.raises(jsonschema.ValidationError, match="no_such_field"):
        schema.validate(manifest)


def operator_schema() -> dict[str, Any]:
    """The schema of a DaskCluster, in which what is not named is not allowed."""
    place = "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    (document,) = yaml.load_all((files("dask_kubernetes") / place).read_text(), yaml.CSafeLoader)
    (version,) = document["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    # A resource has these; the operator's schema leaves them to Kubernetes.
    for name, kind in (("apiVersion", "string"), ("kind", "string"), ("metadata", "object")):
        schema["properties"].setdefault(name, {"type": kind})
    return closed(schema)


def closed(schema: Any) -> Any:
    """Every object with named properties has no others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        inside.setdefault("additionalProperties", False)
    return inside
