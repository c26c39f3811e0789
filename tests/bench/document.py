"""docs/benchmarks.md: a section for each part, tables, and what machine they were measured on."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

import segpipe
from segpipe.execution.clusters.base import cores

HEAD = """# Benchmarks

Written by `make bench` (`python -m tests.bench`), never edited by hand and never part of the tests. What
carries over to another machine are the ratios, each of ways that took turns in one run; absolute figures do
not. The targets stand beside the figures whether they are met or not.
"""

BUSY = 0.85
"""A share of free cores below which times mean little."""

PACKAGES = ("numpy", "numba", "zarr", "numcodecs", "dask", "distributed", "xarray", "scikit-learn", "prefect")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def met(fulfilled: bool) -> str:
    """Whether a target is met, in a word."""
    return "yes" if fulfilled else "**no**"


def mib(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / 2**20:,.0f}"


def machine() -> str:
    """CPU, cores, memory and versions."""
    memory = psutil.virtual_memory().total / 2**30
    software = [
        platform.system(),
        f"Python {platform.python_version()}",
        f"segpipe {segpipe.__version__}",
        *(f"{name} {version(name)}" for name in PACKAGES),
    ]
    return f"{_cpu_name()}, {cores()} cores, {memory:.0f} GiB; {', '.join(software)}"


def measured(body: str, started: float, free: float) -> str:
    """A section's text below a line that says when and where, and how much of the machine was free before."""
    minutes = (time.monotonic() - started) / 60
    when = f"Measured {time.strftime('%Y-%m-%d')} in {minutes:.1f} minutes"
    busy = (
        ""
        if free > BUSY * cores()
        else " **Others worked on this machine: no target is decided by these times.**"
    )
    return f"{when}, with {free:.1f} of {cores()} cores free before, on {machine()}.{busy}\n\n{body}"


def write(path: Path, sections: Mapping[str, str], order: Sequence[str]) -> None:
    """Write the document; sections that were not measured now stay as they are."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    known = dict(re.findall(r"^## (.+)\n\n((?:(?!## ).*\n?)*)", old, re.MULTILINE)) | dict(sections)
    parts = [f"## {title}\n\n{known[title].strip()}\n" for title in order if title in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEAD, *parts]), encoding="utf-8")


def _cpu_name() -> str:
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.processor()
