"""What this machine lacks to run an evaluation, each with what to do about it."""

from __future__ import annotations

import os
import platform
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

import psutil
from packaging.requirements import Requirement

from segpipe.config import SIDES, ClusterConfig, EvaluationConfig, Side
from segpipe.errors import SegpipeError
from segpipe.execution.clusters import cluster_options
from segpipe.execution.clusters.base import cores
from segpipe.kernels.jit import cache_folder
from segpipe.sources.metadata import NODE_DOCUMENTS
from segpipe.sources.storage import open_storage

State = Literal["ok", "warn", "fail"]

ENOUGH_MEMORY_BYTES = 2 << 30
"""A driver and two workers with small label maps."""

ANSWER_S = 60
PREFECT_S = 5
SKEW_S = 2.0
"""How far the clock of a file system may be from ours: files younger than this are waited for."""
ONE_WORKER = ClusterConfig.model_validate({"kind": "local", "workers": 1})


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, what was found, and what to do if it is not well."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine(config: EvaluationConfig | None = None) -> list[Finding]:
    """Look at the machine and, for a configuration, at its stores, its cluster and its results folder."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _versions,
        _numba,
        _port,
        _memory,
        _cores,
        _prefect,
    ]
    findings = [finding for check in checks for finding in check()]
    if config is None:
        return [*findings, worker_processes(ONE_WORKER)]
    shared = ONE_WORKER if config.cluster.kind in ("auto", "threads") else config.cluster
    stores = [store_finding(side, getattr(config, side).store) for side in SIDES]
    results = Path(config.results)
    return [*findings, *stores, worker_processes(shared), results_folder(results), clock(results)]


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _versions() -> Iterator[Finding]:
    """The installed versions against the bounds that segpipe itself declares."""
    try:
        declared = [Requirement(text) for text in requires("segpipe") or []]
    except PackageNotFoundError:
        advice = "pip install . (or -e .) in the checkout, so that its bounds are known"
        yield Finding("versions", "warn", "segpipe is not installed, so versions cannot be checked", advice)
        return
    for requirement in declared:
        extra = str(requirement.marker or "")
        if not extra:
            yield version_finding(requirement)
        elif "flows" in extra:
            yield version_finding(requirement, needed_for="flows")
        elif "cloud" in extra:
            yield version_finding(requirement, needed_for="stores at s3:// and http://")
        elif "performance" in extra:
            yield version_finding(requirement, needed_for="Dask's page and performance_report")
        elif "statistics" in extra:
            yield version_finding(requirement, needed_for="components")


def version_finding(requirement: Requirement, *, needed_for: str = "") -> Finding:
    """One package against its bounds; what only flows need may be absent, but not wrong.

    >>> version_finding(Requirement("numpy<1")).state, version_finding(Requirement("no-such-package")).state
    ('fail', 'fail')
    >>> version_finding(Requirement("no-such-package"), needed_for="flows").state
    'warn'
    """
    name = requirement.name
    advice = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        found = version(name)
    except PackageNotFoundError:
        use = f" ({needed_for} do not run without; everything else does)" if needed_for else ""
        return Finding(name, "warn" if needed_for else "fail", f"not installed{use}", advice)
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(name, "ok", found)
    return Finding(name, "fail", f"{found}, which does not work: {requirement.specifier} does", advice)


def _numba() -> Iterator[Finding]:
    folder = cache_folder()
    if folder is None:
        advice = "set NUMBA_CACHE_DIR to a folder that can be written"
        yield Finding(
            "compiled code", "warn", "no folder to keep it in: every process compiles for seconds", advice
        )
    else:
        yield Finding("compiled code", "ok", f"is kept in {folder}")


def _port() -> Iterator[Finding]:
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname(), timeout=5):
                yield Finding("loopback port", "ok", "127.0.0.1 can be listened on and reached")
    except OSError as error:
        advice = "worker processes talk over 127.0.0.1: allow it, or say cluster: threads"
        yield Finding(
            "loopback port", "fail", f"127.0.0.1 cannot be used ({error.strerror or error})", advice
        )


def _memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    found = f"{free / 2**30:.1f} GiB free of {psutil.virtual_memory().total / 2**30:.1f} GiB"
    if free >= ENOUGH_MEMORY_BYTES:
        yield Finding("memory", "ok", found)
    else:
        yield Finding("memory", "warn", found, "end other programs, or say cluster: threads")


def _cores() -> Iterator[Finding]:
    yield Finding("cores", "ok", f"{cores()} for this process, {os.cpu_count()} in the machine")


def _prefect() -> Iterator[Finding]:
    """Whether the Prefect API that flows would use answers; without one they start their own."""
    address = os.environ.get("PREFECT_API_URL", "")
    if not address:
        return
    shown = address.rpartition("@")[2]
    try:
        with urlopen(f"{address.rstrip('/')}/health", timeout=PREFECT_S) as answer:
            yield Finding("prefect api", "ok", f"{shown} answers {answer.status}")
    except (OSError, ValueError) as error:
        advice = "start it, or unset PREFECT_API_URL: flows then run on an API of their own"
        yield Finding("prefect api", "fail", f"{shown} does not answer ({error})", advice)


def store_finding(side: Side, address: str) -> Finding:
    """Whether a store can be opened, answers, and holds Zarr metadata; it is not listed."""
    try:
        storage = open_storage(address)
        found = [name for name in NODE_DOCUMENTS if storage.get(name, 0, 1) is not None]
    except (SegpipeError, OSError) as error:
        words, _, advice = str(error).partition("\nWhat to do: ")
        return Finding(side, "fail", words, advice or "look at the address of the store")
    if found:
        return Finding(side, "ok", f"{storage.url} can be read ({', '.join(found)})")
    advice = "name the folder that holds zarr.json, .zgroup or .zarray, unless the groups above have none"
    return Finding(side, "warn", f"{storage.url} answers, and has no Zarr metadata at its root", advice)


def worker_processes(cluster: ClusterConfig) -> Finding:
    """Whether a cluster starts (or can be reached), does a task, and stops."""
    begun = time.monotonic()
    try:
        with cluster_options(cluster).open() as pool:
            pool.executor.submit(os.getpid).result(ANSWER_S)
    except Exception as error:
        return Finding(
            "workers", "fail", f"do not start: {error or type(error).__name__}", "cluster: threads needs none"
        )
    return Finding(
        "workers",
        "ok",
        f"of cluster {cluster.kind}: started, answered, stopped in {time.monotonic() - begun:.1f} s",
    )


def results_folder(folder: Path) -> Finding:
    """Whether results can be written to a folder (or to the nearest one above it that exists)."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding("results", "ok", f"{folder} can be written")
    except OSError as error:
        advice = "choose another folder: --results DIR"
        return Finding("results", "fail", f"{folder} cannot be written ({error.strerror or error})", advice)


def clock(folder: Path) -> Finding:
    """Whether the clock of this machine and that of the results' file system agree.

    Files that are younger than two seconds are waited for before they are trusted, and heartbeats of runs are
    told by time: both need one clock.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            skew = Path(file.name).stat().st_mtime - time.time()
    except OSError as error:
        return Finding("clock", "warn", f"not compared: {error.strerror or error}", "mend the results first")
    if abs(skew) <= SKEW_S:
        return Finding("clock", "ok", f"agrees with that of {existing} within {SKEW_S:g} s")
    advice = "set both clocks by NTP: runs of two machines could be taken for abandoned, or files for settled"
    return Finding("clock", "fail", f"differs from that of {existing} by {skew:.0f} s", advice)
