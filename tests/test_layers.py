"""Arrows between modules point down, each outside library enters at one height, and imports stay quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("segpipe.errors",),
    ("segpipe.registry", "segpipe.classes", "segpipe.resources", "segpipe.query"),
    ("segpipe.values", "segpipe.yaml_files"),
    ("segpipe.mistakes",),
    ("segpipe.criteria",),
    ("segpipe.config",),
    ("segpipe.kernels",),
    ("segpipe.statistics",),
    ("segpipe.metrics",),
    ("segpipe.accumulator", "segpipe.arrays"),
    ("segpipe.sources",),
    ("segpipe.planning",),
    ("segpipe.counts",),
    ("segpipe.writing",),
    ("segpipe.reports",),
    ("segpipe.execution",),
    ("segpipe.run",),
    ("segpipe.terminal",),
    ("segpipe.store_tables", "segpipe.history_tables", "segpipe.comparison_tables"),
    ("segpipe.cli",),
    ("segpipe",),
    ("flows",),
)
"""From the ground up; a module imports from lower floors and from its own package, nothing else."""

HOMES: dict[str, tuple[str, ...]] = {
    "distributed": ("segpipe.execution",),
    "dask": ("segpipe.execution", "segpipe.arrays"),
    "prefect": ("flows",),
    "zarr": ("segpipe.sources", "segpipe.counts", "segpipe.writing", "segpipe.run"),
    "xarray": ("segpipe.counts", "segpipe.metrics", "segpipe.arrays", "segpipe.run", "segpipe.reports"),
    "numba": ("segpipe.kernels",),
    "obstore": ("segpipe.sources.stores",),
}
"""Outside library -> the packages that may import it."""

LATE: dict[str, str] = {
    "segpipe.cli": "`segpipe --help` and mistakes in an option are answered before anything heavy is loaded",
    "segpipe.accumulator": "Numba is loaded by the first update, not by the import",
    "segpipe.arrays": "Dask and xarray are loaded only where such arrays come in, Numba by the first count",
    "segpipe.run.opened": "xarray and pandas take half a second, and the command's tables need neither",
    "segpipe.terminal": "types of stages, for annotations only",
    "segpipe.kernels": "Numba is loaded by the first count, not by the import",
    "segpipe.sources.tables": "pandas is loaded only where a table is joined",
    "segpipe.sources.stores": "obstore is an extra, needed only for stores that are asked over the network",
    "segpipe.metrics.scores": "pandas is loaded only where a table of scores is asked for",
    "segpipe.reports.parquet": "pyarrow is loaded only where Parquet is written",
    "segpipe.writing.image_files": "Pillow and tifffile are an extra, needed only where images are imported",
    "segpipe.execution.clusters": "distributed is loaded only where a Dask cluster was chosen",
    "segpipe": "the face loads a name when it is first used",
    "flows": "a flow and its command need each other; Prefect's server is loaded where it is started",
}
"""Module or package -> why it may import inside a function or for annotations only."""


@dataclass(frozen=True)
class Import:
    """One imported module, and whether the import stands at the top of its file."""

    module: str
    line: int
    at_top: bool


def imports_of(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """All imports of a file, those inside functions and under TYPE_CHECKING too."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                Import(name, node.lineno, id(node) in top) for name in origins(node, module, is_package)
            )


def origins(node: ast.ImportFrom, module: str, is_package: bool) -> list[str]:
    """The modules of `from a import b`: a.b where that may be a module, a where b is a name of ours in it."""
    parts = module.split(".")[: None if is_package else -1]
    base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
    source = ".".join(part for part in (base, node.module or "") if part)
    ours = source.partition(".")[0] in ("segpipe", "flows")
    names = [f"{source}.{alias.name}" for alias in node.names]
    return sorted({name if is_module(name) or not ours else source for name in names})


def is_module(name: str) -> bool:
    """Whether the repository has a module of that name."""
    path = REPOSITORY.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def within(module: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return module == package or module.startswith(package + ".")


def floor_of(module: str) -> tuple[int, str] | None:
    """The number of the floor and the package there; the face is `segpipe` itself and nothing below it."""
    for number, floor in enumerate(FLOORS):
        for package in floor:
            if module == package or (package != "segpipe" and within(module, package)):
                return number, package
    return None


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """Every import of a file that breaks a rule, in words."""
    here = floor_of(module)
    if here is None:
        return [f"{module} stands on no floor; add it to FLOORS"]
    found = []
    for each in imports_of(source, module, is_package):
        where = f"{module}:{each.line} imports {each.module}"
        found += [f"{where}: {reason}" for reason in reasons(module, here, each)]
    return found


def reasons(module: str, here: tuple[int, str], each: Import) -> Iterator[str]:
    """Why an import is not allowed."""
    library = each.module.partition(".")[0]
    if library in ("segpipe", "flows"):
        there = floor_of(each.module)
        if each.module == "segpipe" and here[1] != "flows":
            yield "nothing inside imports the package's face"
        elif there is None:
            yield "there is no such floor"
        elif there[1] != here[1] and there[0] >= here[0]:
            yield f"{there[1]} is not below {here[1]}"
    if library in HOMES and not any(within(module, home) for home in HOMES[library]):
        yield f"{library} is imported only in {', '.join(HOMES[library])}"
    if within(each.module, "dask.array") and module != "segpipe.arrays":
        yield "dask.array is imported only in segpipe.arrays"
    if not each.at_top and not any(
        module == late or (late != "segpipe" and within(module, late)) for late in LATE
    ):
        yield "an import inside a function needs a reason in LATE"


def files() -> list[Path]:
    """All modules of the two packages."""
    return sorted(path for package in ("segpipe", "flows") for path in (REPOSITORY / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """The dotted name of a file."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", files(), ids=lambda path: module_name(path))
def test_arrows_point_down_and_libraries_stay_at_their_height(path: Path) -> None:
    """No file of segpipe or flows breaks a rule of the layers."""
    assert violations(module_name(path), path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("segpipe.kernels.confusion", "import dask", "dask is imported only in"),
        ("segpipe.kernels.confusion", "from segpipe.metrics import areas", "segpipe.metrics is not below"),
        ("segpipe.kernels.confusion", "from ..run import stages", "segpipe.run is not below"),
        (
            "segpipe.metrics.areas",
            "def f():\n    import xarray",
            "an import inside a function needs a reason",
        ),
        ("segpipe.errors", "from segpipe import registry", "segpipe.registry is not below"),
        ("segpipe.registry", "from segpipe.classes import ClassList", "segpipe.classes is not below"),
        ("segpipe.counts.partials", "import segpipe", "nothing inside imports the package's face"),
        (
            "segpipe.counts.partials",
            "from segpipe import evaluate",
            "nothing inside imports the package's face",
        ),
        ("segpipe.run.stages", "import distributed.client", "distributed is imported only in"),
        ("segpipe.run.stages", "from prefect import flow", "prefect is imported only in"),
        (
            "segpipe.execution.loop",
            "import dask.array as da",
            "dask.array is imported only in segpipe.arrays",
        ),
        ("segpipe.execution.loop", "from dask import array", "dask.array is imported only in segpipe.arrays"),
        ("segpipe.run.stages", "from flows.evaluate import evaluate", "flows is not below"),
        (
            "segpipe.run.stages",
            "if TYPE_CHECKING:\n    from segpipe.cli import main",
            "segpipe.cli is not below",
        ),
        ("segpipe.attic", "", "stands on no floor"),
    ],
)
def test_a_file_that_breaks_a_rule_is_caught(module: str, source: str, reason: str) -> None:
    """Each rule finds the snippet that was written to break it."""
    assert any(reason in violation for violation in violations(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("segpipe.metrics.areas", "import numpy as np\nfrom segpipe.kernels.cells import ConfusionCells"),
        ("segpipe.execution.loop", "from distributed import Client"),
        ("flows.evaluate", "from prefect import flow\nimport segpipe"),
        ("segpipe.arrays", "import dask.array as da"),
    ],
)
def test_a_file_that_keeps_the_rules_is_not_blamed(module: str, source: str) -> None:
    """What the layers allow is allowed."""
    assert violations(module, source) == []


def test_every_late_import_that_is_allowed_is_used() -> None:
    """A reason in LATE is taken out when the last such import is gone."""
    late = {
        module_name(path)
        for path in files()
        for each in imports_of(
            path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py"
        )
        if not each.at_top
    }
    assert [allowed for allowed in LATE if not any(within(module, allowed) for module in late)] == []


HEAVY = ("dask", "distributed", "prefect", "numba", "zarr", "pandas", "xarray", "pyarrow")


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        ("segpipe", HEAVY),
        ("segpipe.cli", HEAVY),
        ("segpipe.kernels", ("dask", "distributed", "zarr", "prefect", "xarray")),
        ("segpipe.kernels.confusion", ("dask", "distributed", "zarr", "prefect", "xarray", "numba")),
        ("segpipe.statistics", ("dask", "distributed", "zarr", "prefect", "xarray")),
        ("segpipe.metrics", ("dask", "distributed", "zarr", "prefect", "xarray")),
    ],
)
def test_an_import_does_not_load(module: str, unloaded: tuple[str, ...]) -> None:
    """A fresh interpreter that imports the module has none of these libraries."""
    program = f"import sys, {module}; print([name for name in {unloaded!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
