"""The README keeps its word: every command and every Python block in it is run, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import segpipe
from segpipe.cli import commands, main
from segpipe.config import make_config
from tests.warm import COMMAND, Command, Warm

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command or a block of Python, and the line it begins at."""

    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text.splitlines()[0]}"


def blocks(*languages: str) -> list[Step]:
    """The fenced blocks of some languages."""
    found = [
        Step(README.count("\n", 0, match.start(2)) + 1, *match.groups()) for match in BLOCK.finditer(README)
    ]
    return [step for step in found if step.language in languages]


def steps() -> list[Step]:
    """Every command line and every Python block, in order."""
    found = []
    for block in blocks("sh", "python"):
        lines = block.text.splitlines() if block.language == "sh" else [block.text]
        found += [Step(block.line + at, block.language, text) for at, text in enumerate(lines)]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, demo_small: Path) -> Path:
    """A checkout after `make demo`, as far as the README's commands see it: one for all, as for a reader."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(demo_small, folder / "demo" / "data")
    shutil.copytree(REPOSITORY / "configs", folder / "configs")
    (folder / "bin").mkdir()
    (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin/python").chmod(0o755)
    return folder


Done = Command | subprocess.CompletedProcess[str]


def run(command: list[str], folder: Path, warm: Warm) -> Done:
    """A command in the reader's folder, with the repository's code."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    if command[0] == "segpipe":
        return warm.run(COMMAND, command[1:], folder=folder, environment=environment)
    if command[:2] == [sys.executable, "-c"]:
        return warm.run(command[2], folder=folder, environment=environment)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def translated(step: Step) -> list[str]:
    """What is run for a step: pip only tries, for the network is no part of a test."""
    if step.language == "python":
        return [sys.executable, "-c", step.text]
    words = shlex.split(step.text)
    if words[:2] != ["pip", "install"]:
        return words
    (what,) = words[2:]
    trial = ("--dry-run", "--no-deps", "--no-build-isolation", "--no-input", "--disable-pip-version-check")
    return [sys.executable, "-m", "pip", "install", *trial, what.replace(".", str(REPOSITORY), 1)]


MAKE = [step for step in steps() if step.text.startswith("make ")]
RUN = [step for step in steps() if step not in MAKE]


@pytest.fixture(scope="module")
def walked(place: Path, warm: Warm) -> dict[Step, Done]:
    """Every step, done one after the other."""
    return {step: run(translated(step), place, warm) for step in RUN}


@pytest.fixture
def street(walked: dict[Step, Done], place: Path) -> Path:
    """The results of a model that the README evaluates."""
    return place / "results" / "street" / "model_b"


@pytest.mark.parametrize("step", RUN, ids=str)
def test_it_runs(step: Step, walked: dict[Step, Done]) -> None:
    """As it stands there, after everything that stands above it."""
    done = walked[step]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not provide the extra" not in done.stderr


@pytest.mark.parametrize("step", MAKE, ids=str)
def test_make_knows_the_target(step: Step) -> None:
    """The two commands are real; they are not run here, for `make test` runs this."""
    done = subprocess.run(
        [*shlex.split(step.text), "--dry-run"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_of_segpipe_is_shown() -> None:
    """And both ways to run an evaluation without Python."""
    shown = {step.text.split()[1] for step in steps() if step.text.startswith("segpipe ")}
    assert shown == set(commands.commands)
    assert {"make demo", "make test"} <= {step.text for step in steps()}


def test_yaml_blocks_are_settings() -> None:
    """Together they are one configuration."""
    values = {}
    for block in blocks("yaml"):
        values |= yaml.safe_load(block.text)
    assert make_config(values).missing_chunks == "are_fill_value"


def cells(heading: str) -> list[list[str]]:
    """The rows of the table under a heading."""
    section = re.split(r"^#+ ", README.partition(f" {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_settings_of_the_table_are_valid() -> None:
    """Each on top of the smallest configuration; classes are named in some of them."""
    base = {"truth": "t", "pred": "p", "classes": ["road", "sidewalk", "background"]}
    rows = cells("Point it at your own stores")
    assert len(rows) >= 8
    for _, setting in rows:
        for text in re.findall(r"`(\w+: .+?)`", setting):
            make_config({**base, **yaml.safe_load(text)})


def test_files_of_a_run_are_those_that_a_run_leaves(street: Path) -> None:
    """Named in the table, and there."""
    run_folder = segpipe.open_run(street).path
    names = {name for files, _ in cells("What a run leaves behind") for name in re.findall(r"`(.+?)`", files)}
    assert len(names) > 10
    assert names <= {path.name for path in run_folder.iterdir()}


def test_scores_that_are_explained_are_scores(street: Path) -> None:
    """By their names in the tables."""
    section = README.partition("## Read the numbers\n")[2].partition("* **Classes used**")[0]
    names = re.findall(r"`(\w+)`", section)
    assert len(names) >= 6
    assert set(names) <= set(segpipe.open_run(street).computed.aggregates)


def test_the_missing_chunks_error_is_the_real_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words in the README are those of the command, and its cure is the line that stands below."""
    shutil.copytree(place / "demo" / "data" / "model_a.zarr", place / "part.zarr")
    chunk = min((place / "part.zarr" / "labels" / "c").rglob("0/0/0"))
    chunk.unlink()
    options = ["--truth", f"{place}/demo/data/truth.zarr::labels", "--pred", f"{place}/part.zarr::labels"]
    with pytest.raises(SystemExit) as ended:
        main(["validate", *options, "--classes", "cityscapes", "--ignore", "255"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    words = r"error: missing chunk: found \d+ of \d+ chunks absent, .*\(pred, store .*, array labels, chunk"
    assert re.match(words, said)
    assert any(re.match(words, block.text) for block in blocks("text"))
    assert "missing_chunks: are_fill_value" in said


def test_the_tables_shown_are_the_printed_ones(street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures differ with the dataset; heads and the kinds of lines do not."""
    with pytest.raises(SystemExit):
        main(["report", str(street)])
    printed = [re.sub(r"\s+", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    heads = ["score value averaging stands on", "id class truth px pred px iou dice precision recall"]
    shown = [re.sub(r"\s+", " ", line).strip() for line in blocks("text")[0].text.splitlines()]
    assert all(head in printed and head in shown for head in heads)


def test_links_and_pictures_are_there_and_need_no_network() -> None:
    """The picture is in the tree and fetches nothing."""
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (REPOSITORY / target).is_file(), target
    picture = (REPOSITORY / "docs" / "images" / "demo-result.svg").read_text(encoding="utf-8")
    addresses = re.findall(r"https?://[^\s\"')]+", picture)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}


def test_folders_of_the_last_table_are_there() -> None:
    """Where what is, is where it is said to be."""
    for places, _ in cells("Where what is"):
        for name in re.findall(r"`(.+?)`", places):
            assert (REPOSITORY / name).exists(), name
