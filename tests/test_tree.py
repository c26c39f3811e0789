"""The tree itself: the lock, the licence, paths, and that CI runs what `make test` runs."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from segpipe.errors import ConfigError
from segpipe.resources import config_names, config_text

REPOSITORY = Path(__file__).resolve().parent.parent
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """The files that git knows; where this is no checkout there is nothing to look at."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("this is not a git checkout")
    names = [name for name in listing.stdout.split("\0") if name]
    return [REPOSITORY / name for name in names if (REPOSITORY / name).is_file()]


def locked() -> list[list[str]]:
    """The requirements of the lock: first the requirement, then its hashes."""
    lines = [line.strip() for line in LOCK.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [
        [part.strip() for part in entry.split("\\")] for entry in re.split(r"\n(?!--hash)", "\n".join(lines))
    ]


def test_the_lock_names_no_address() -> None:
    """Where packages come from is the machine's affair."""
    assert re.findall(r"https?:|file:|\bindex-url|--find-links|git\+", LOCK) == []


def test_every_requirement_is_pinned_and_has_hashes() -> None:
    """pip installs the lock with --require-hashes."""
    entries = locked()
    assert len(entries) > 50
    loose = [entry[0] for entry in entries if "==" not in entry[0] or not entry[1:]]
    assert loose == []
    assert all(part.startswith("--hash=sha256:") for entry in entries for part in entry[1:])


def test_the_lock_satisfies_the_project() -> None:
    """Every dependency, optional ones too, is in the lock in a version that pyproject.toml allows."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for group in project["optional-dependencies"].values() for name in group),
    ]
    pins: dict[str, list[str]] = {}
    for entry in locked():
        requirement = Requirement(entry[0])
        pins.setdefault(canonicalize_name(requirement.name), []).append(
            next(iter(requirement.specifier)).version
        )
    for requirement in map(Requirement, wanted):
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in the lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement}: {versions}"
        )


def test_the_licence_is_apache_2_0_word_for_word() -> None:
    """The text is the one that the Apache Software Foundation publishes."""
    text = (REPOSITORY / "LICENSE").read_bytes()
    assert (
        hashlib.sha256(text).hexdigest() == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    )


def test_no_file_names_a_path_of_one_machine() -> None:
    """Home folders and workplaces of the machine it was written on stay out of the tree."""
    machine = re.compile(r"(?<![\w.])/(home|root|Users|work|mnt)/\w+")
    found = {
        f"{path.relative_to(REPOSITORY)}: {match.group()}"
        for path in tracked()
        for match in machine.finditer(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert found == set()


def test_ci_runs_make_test_and_make_test_runs_everything() -> None:
    """`.ci/run` is `make test`, and that is ruff, mypy and pytest from the locked environment."""
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "exec make --jobs=2 test </dev/null"
    assert "export CI=true" in script
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    steps = ["ruff check", "ruff format --check", ".venv/bin/mypy", "python -m pytest"]
    assert [step for step in steps if step not in plan] == []
    assert "--require-hashes -r requirements.lock" in plan


def test_shipped_configurations_are_found_by_name() -> None:
    """Every file under configs/ is found without its ending."""
    for folder in ("classes", "clusters", "examples"):
        names = config_names(folder)
        assert names
        assert all(config_text(f"{folder}/{name}") for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "../.pre-commit-config",
        "classes/../../.pre-commit-config",
        "/etc/hostname",
        "classes/cityscapes.yaml",
        "",
        "classes",
    ],
)
def test_a_name_cannot_leave_the_folder_of_configurations(name: str) -> None:
    """Dots, absolute paths and folders are no names."""
    with pytest.raises(ConfigError, match="no shipped configuration"):
        config_text(name)


def test_a_mistyped_name_is_told_what_is_near() -> None:
    """The message lists what there is and proposes the nearest name."""
    with pytest.raises(
        ConfigError, match=r"'classes/cityscape'; known in classes: .*did you mean cityscapes\?"
    ):
        config_text("classes/cityscape")
