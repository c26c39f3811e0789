"""Dask on Kubernetes by Dask's operator (dask-kubernetes, the extra `kubernetes`).

Written after the operator's documentation and checked against the schema that it publishes; no Kubernetes was
at hand to run it on.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from segpipe.errors import ConfigError
from segpipe.execution.clusters.base import CLUSTERS, DaskOptions, MemoryBytes, Pool
from segpipe.execution.clusters.starting import started

IDLE_S = 900
"""The operator removes a cluster whose driver was killed after this time."""

CONTROLLER_S = 60
"""How long the operator may take to notice a new cluster."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=200)]
"""A name as Kubernetes takes it."""


class Volume(BaseModel):
    """A claim of a volume, and where scheduler and workers see it.

    Attributes:
        claim: name of a PersistentVolumeClaim of the namespace.
        mount: absolute path; the driver must see stores and results under the same paths.
        read_only: right for stores; results must be written to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: Name
    mount: str = Field(pattern=r"^/[A-Za-z0-9_./@+-]*$")
    read_only: bool = False


@CLUSTERS.register("kubernetes")
class Kubernetes(DaskOptions):
    """Options: `image`, `workers`, `memory_limit` and `cpus` of each, `namespace`, `volumes` and so on.

    `image` has segpipe of this version in it. `secrets` names Secrets of the namespace whose entries the
    workers get as environment variables (the keys of an object store). The first worker may take
    `start_timeout_s`: a node may have to be started for it.
    """

    image: str = Field(pattern=r"^[\w][\w./:@-]*$")
    workers: int = Field(default=4, ge=1, le=4096)
    memory_limit: MemoryBytes = 4 << 30
    cpus: float = Field(default=1.0, gt=0, le=1024)
    namespace: Name | None = None
    service_account: Name | None = None
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[Name, ...] = ()
    start_timeout_s: float = Field(default=900, gt=0)

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.workers

    def memory_per_slot(self) -> int:
        """The limit of a worker."""
        return self.memory_limit

    def words(self) -> str:
        """The cluster in a few words."""
        return f"Dask on Kubernetes ({self.workers} workers of {self.image})"

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Have the operator start scheduler and workers, and wait for the first of them."""
        operator = _operator()
        import dask

        from segpipe.execution.clusters.dask_pool import DASK_SETTINGS, cluster_pool

        what, name = "the Dask cluster on Kubernetes", f"segpipe-{uuid.uuid4().hex[:12]}"
        advice = (
            f"Look at `kubectl describe daskcluster {name}` and at the pods; the operator must be installed"
        )
        with dask.config.set(DASK_SETTINGS):
            cluster = started(
                lambda: operator.KubeCluster(
                    custom_cluster_spec=self.manifest(name),
                    namespace=self.namespace,
                    resource_timeout=CONTROLLER_S,
                    shutdown_on_close=True,
                    quiet=True,
                ),
                self.start_timeout_s,
                what,
                advice,
            )
            no_workers = f"{what} had no worker within {self.start_timeout_s:g} s. {advice}"
            with cluster_pool(
                cluster,
                self.slots(),
                first_worker_s=self.start_timeout_s,
                no_workers=no_workers,
                performance=self.performance_report,
                patience_s=self.start_timeout_s,
            ) as pool:
                yield pool

    def manifest(self, name: str) -> dict[str, Any]:
        """The resource `DaskCluster` that the operator is given."""
        scheduler = self._container("scheduler", ["dask-scheduler", "--host", "0.0.0.0"])
        scheduler["ports"] = [
            {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
        ]
        health = {"httpGet": {"port": "http-dashboard", "path": "/health"}}
        scheduler["readinessProbe"] = {**health, "periodSeconds": 2}
        scheduler["livenessProbe"] = {**health, "initialDelaySeconds": 30, "periodSeconds": 20}
        limit = ["--nthreads", "1", "--memory-limit", str(self.memory_limit), "--no-dashboard"]
        worker = self._container("worker", ["dask-worker", "--name", "$(DASK_WORKER_NAME)", *limit])
        return {
            "apiVersion": "kubernetes.dask.org/v1",
            "kind": "DaskCluster",
            "metadata": {"name": name},
            "spec": {
                "idleTimeout": IDLE_S,
                "worker": {"replicas": self.workers, "spec": self._pod(worker)},
                "scheduler": {"spec": self._pod(scheduler), "service": _service(name)},
            },
        }

    def _container(self, role: str, command: list[str]) -> dict[str, Any]:
        from segpipe.execution.clusters.dask_pool import THREAD_LIMITS

        resources = {"cpu": f"{self.cpus:g}", "memory": str(self.memory_limit)}
        return {
            "name": role,
            "image": self.image,
            "args": command,
            "env": [{"name": name, "value": value} for name, value in THREAD_LIMITS.items()],
            "envFrom": [{"secretRef": {"name": secret}} for secret in self.secrets],
            "resources": {"requests": resources, "limits": resources},
            "volumeMounts": [
                {
                    "name": f"volume-{at}",
                    "mountPath": str(PurePosixPath(volume.mount)),
                    "readOnly": volume.read_only,
                }
                for at, volume in enumerate(self.volumes)
            ],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }

    def _pod(self, container: dict[str, Any]) -> dict[str, Any]:
        account = {"serviceAccountName": self.service_account} if self.service_account else {}
        return {
            **account,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [
                {
                    "name": f"volume-{at}",
                    "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only},
                }
                for at, volume in enumerate(self.volumes)
            ],
        }


def _service(name: str) -> dict[str, Any]:
    """The address of the scheduler: within the cluster only."""
    ports = (("tcp-comm", 8786), ("http-dashboard", 8787))
    return {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [
            {"name": port, "protocol": "TCP", "port": number, "targetPort": port} for port, number in ports
        ],
    }


def _operator() -> Any:
    """The library, which is an extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import dask_kubernetes.operator
    except ImportError as error:
        message = f"Kubernetes needs the extra: pip install 'segpipe[kubernetes]' ({error})"
        raise ConfigError(message) from None
    return dask_kubernetes.operator
