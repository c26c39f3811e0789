"""The configurations that are shipped with segpipe (class lists, clusters, examples), found by name."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from segpipe.errors import ConfigError

PACKAGE = Path(__file__).parent
NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
"""A name has no dot, so it cannot leave the folder."""


def config_text(name: str) -> str:
    """The text of a shipped configuration.

    Args:
        name: folder and name without an ending, such as `classes/cityscapes`.

    Raises:
        ConfigError: there is none of that name; the message lists what there is.

    >>> config_text("clusters/threads").splitlines()[-1]
    'kind: threads'
    """
    path = _folder() / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        message = _unknown(name)
        raise ConfigError(message)
    return path.read_text(encoding="utf-8")


def config_names(folder: str) -> list[str]:
    """The names in a folder of shipped configurations, sorted.

    >>> config_names("clusters")
    ['address', 'kubernetes', 'local', 'lsf', 'moab', 'pbs', 'sge', 'slurm', 'threads']
    """
    return sorted(path.stem for path in (_folder() / folder).glob("*.yaml"))


def _folder() -> Path:
    """Inside the package where it was installed from a wheel, beside it in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parent / "configs"


def _unknown(name: str) -> str:
    folder, _, last = name.rpartition("/")
    known = config_names(folder) if NAME.fullmatch(folder) else []
    near = get_close_matches(last, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    listed = f"; known in {folder}: {', '.join(known)}" if known else ""
    return f"no shipped configuration {name!r}{listed}{hint} (a file of your own ends in .yaml)"
