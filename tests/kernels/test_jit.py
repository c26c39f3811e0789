"""Machine code is kept between processes, in a folder that nobody else can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segpipe.kernels import jit

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = """
import contextvars, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from segpipe.classes import LabelRules
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.jit import told_of_compiling
assert "numba" not in sys.modules, "numba is loaded before counting"
who, nothing, rules = contextvars.ContextVar("who"), np.zeros((1, 1), np.uint8), LabelRules.of(1)
who.set("driver:")
with told_of_compiling(lambda words: print(who.get(), words)), ThreadPoolExecutor(1) as pool:
    pool.submit(count_confusion, nothing, nothing, rules, rules).result()
from segpipe.kernels import _runs
stats = _runs._count_images.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), len(_runs._count_images.signatures))
"""


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    variables = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    """The first says once that it compiles, in the context of who asked; the second has nothing to tell."""
    folder = tmp_path / "numba"
    told, _ = run_python(COUNT, NUMBA_CACHE_DIR=str(folder)).splitlines()
    assert told == f"driver: compiling for this machine, once; kept in {folder}"
    assert list(folder.rglob("*.nbi"))
    assert run_python(COUNT, NUMBA_CACHE_DIR=str(folder)) == "1 0 1"


def test_importing_the_kernels_loads_no_numba():
    code = """
import sys
import segpipe.kernels.confusion, segpipe.kernels.positions, segpipe.kernels.weighted, segpipe.kernels.jit
import segpipe.accumulator, segpipe.arrays
print([name for name in ("numba", "dask", "xarray", "zarr") if name in sys.modules])
"""
    assert run_python(code) == "[]"


def test_functions_run_where_nothing_can_be_kept(tmp_path):
    """Home, cache and temporary files are a plain file here: as unusable as a read-only root."""
    file = tmp_path / "file"
    file.touch()
    code = f"""
import tempfile
tempfile.tempdir = {str(file)!r}
from segpipe.kernels import jit
assert jit.cache_folder() is None
print(jit.compiled(lambda number: number + 1)(2))
"""
    assert run_python(code, NUMBA_CACHE_DIR=str(file), XDG_CACHE_HOME=str(file), HOME=str(file)) == "3"


def test_numba_s_own_setting_is_as_it_was():
    code = "import numba\nbefore = numba.config.CACHE_DIR\nfrom segpipe.kernels import _runs\n"
    assert run_python(code + "print(numba.config.CACHE_DIR == before)") == "True"


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No folder of the environment is left; each test names the ones that it wants."""
    file = tmp_path / "file"
    file.touch()
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(file))
    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    jit.cache_folder.cache_clear()
    yield tmp_path
    jit.cache_folder.cache_clear()


class TestChoice:
    """NUMBA_CACHE_DIR, the user's cache, a private temporary folder: the first that is usable."""

    def test_the_chosen_folder_comes_first(self, nowhere, monkeypatch):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "chosen"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere / "cache"))
        assert jit.cache_folder() == nowhere / "chosen"
        assert (nowhere / "chosen").stat().st_mode & 0o777 == 0o700

    def test_then_the_user_s_cache(self, nowhere, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere / "cache"))
        assert jit.cache_folder() == nowhere / "cache" / "segpipe" / "numba"

    def test_then_the_home_folder(self, nowhere, monkeypatch):
        monkeypatch.setenv("HOME", str(nowhere / "home"))
        assert jit.cache_folder() == nowhere / "home" / ".cache" / "segpipe" / "numba"

    def test_then_a_private_temporary_folder(self, nowhere):
        folder = jit.cache_folder()
        assert folder == nowhere / "temporary" / f"segpipe-numba-{os.geteuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_a_folder_that_cannot_be_written_is_passed_over(self, nowhere, monkeypatch):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "chosen"))

        def read_only(dir):
            if dir == nowhere / "chosen":
                raise PermissionError
            return open(os.devnull)

        monkeypatch.setattr(jit.tempfile, "TemporaryFile", read_only)
        assert jit.cache_folder() == nowhere / "temporary" / f"segpipe-numba-{os.geteuid()}"


class TestTrust:
    """A folder that another user could write, or swap for another, is never used."""

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
    def test_a_folder_that_others_can_write(self, nowhere, mode):
        folder = nowhere / "open"
        folder.mkdir()
        folder.chmod(mode)
        assert not jit._usable(folder)

    def test_a_folder_under_one_that_others_can_write(self, nowhere):
        parent = nowhere / "open"
        parent.mkdir()
        parent.chmod(0o777)
        assert not jit._usable(parent / "private")
        parent.chmod(0o1777)
        assert jit._usable(parent / "private")

    def test_a_folder_of_another_user(self, nowhere, monkeypatch):
        assert jit._usable(nowhere / "mine")
        monkeypatch.setattr(jit.os, "geteuid", lambda: 12_345)
        assert not jit._usable(nowhere / "mine")

    def test_a_link_counts_as_what_it_points_at(self, nowhere):
        (nowhere / "open").mkdir()
        (nowhere / "open").chmod(0o777)
        (nowhere / "link").symlink_to(nowhere / "open")
        assert not jit._usable(nowhere / "link")
