"""The wheel holds what is needed, and works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def run(command: Sequence[str | Path], folder: Path, environment: dict[str, str] | None = None) -> str:
    """What a command prints; a failure shows what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling from the environment, without network."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone was installed."""
    target = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        target,
        wheel,
    ]
    run(pip, target)
    return target


def test_the_wheel_holds_the_package_its_types_and_its_configurations(wheel: Path) -> None:
    """Package, py.typed, licence and every file of configs/ are in the wheel; tests and flows are not."""
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"segpipe/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "configs").rglob("*.yaml")}
    assert configs
    assert (
        configs | {"segpipe/__init__.py", "segpipe/py.typed", "segpipe/cli.py", "segpipe/reports/report.css"}
        <= names
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"segpipe"}


def python_away(installed: Path, tmp_path: Path, *arguments: str | Path) -> str:
    """What Python prints when it finds the installed wheel and the environment's libraries, and nothing else.

    `-S` leaves out the paths that an editable installation adds.
    """
    paths = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    return run([sys.executable, "-S", *arguments], tmp_path, {"PYTHONPATH": paths})


def test_the_repository_is_out_of_reach(installed: Path, tmp_path: Path) -> None:
    """The tests below would not find the repository's own files."""
    paths = python_away(installed, tmp_path, "-c", "import sys; print(*sys.path, sep='\\n')").splitlines()
    assert [path for path in paths if path and Path(path).resolve() == REPOSITORY] == []
    assert "flows" not in {path.name for path in installed.iterdir()}


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    """`segpipe --help` runs from the wheel and names its commands."""
    shown = python_away(installed, tmp_path, installed / "bin" / "segpipe", "--help")
    assert "evaluate" in shown
    assert "plan" in shown


def test_shipped_configurations_are_found_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`classes: cityscapes` and `cluster: local` mean the files that the wheel holds."""
    program = f"""
import segpipe.resources
from segpipe.config import make_config
assert segpipe.resources.__file__.startswith({str(installed)!r})
config = make_config(dict(truth="t.zarr", pred="p.zarr", classes="cityscapes", cluster="local"))
print(config.classes.names[11], config.cluster.kind)
"""
    assert python_away(installed, tmp_path, "-c", program).split() == ["person", "local"]
