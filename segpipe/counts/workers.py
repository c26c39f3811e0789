"""A worker on another machine: does it see the run's folder, and would it count as the plan expects?"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from segpipe.errors import InfrastructureError
from segpipe.kernels.version import COUNTING_VERSION


@cache
def code_version() -> str:
    """Which code counts here: a partial written by another must not stand under a key of this one."""
    try:
        installed = version("segpipe")
    except PackageNotFoundError:
        installed = "(not installed)"
    return f"segpipe {installed}, counting {COUNTING_VERSION}"


def check_sees(path: Path) -> None:
    """Refuse to work where a file of the run is not to be seen.

    Raises:
        InfrastructureError: it is not there.
    """
    if not path.exists():
        message = (
            f"the worker on {platform.node()} does not see {path}: results (and stores) must lie where all "
            "workers see them under the same path"
        )
        raise InfrastructureError(message)


def check_code(planned: str) -> None:
    """Refuse to count with another version than that which planned.

    Raises:
        InfrastructureError: the versions differ.
    """
    if planned != code_version():
        message = (
            f"the worker on {platform.node()} runs {code_version()}, the plan was made by {planned}: "
            "install the same version on all workers"
        )
        raise InfrastructureError(message)
