"""Stores in S3, behind a web server or in archives: the same bytes as from a folder, or a clear error."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segpipe.config import EvaluationConfig
from segpipe.errors import InfrastructureError, InputChangedError, InputError
from segpipe.run.evaluate import evaluate
from tests.run.datasets import figures, pair_config, write_pair
from tests.sources.servers import (
    BUCKET,
    KEY_ID,
    SECRET,
    Bucket,
    Faulty,
    clean_environment,
    faulty,
    s3_environment,
    s3_service,
    serving,
    web_folder,
)
from tests.sources.stores import consolidate, edit_json
from tests.warm import COMMAND, Warm

IMAGES = 16
CHUNK = "/labels/c/"
"""What the path of every chunk of label maps holds."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with truth.zarr and pred.zarr; read only."""
    folder = tmp_path_factory.mktemp("pair")
    write_pair(folder, IMAGES)
    return folder


@pytest.fixture(scope="module")
def reference(dataset: Path) -> dict[str, bytes]:
    """The figures of the local stores."""
    return figures(evaluate(pair_config(dataset, results=f"{dataset}/reference")))


@pytest.fixture(scope="module")
def service(dataset: Path) -> Iterator[int]:
    """A service that holds both stores."""
    with s3_service() as port:
        for side in ("truth", "pred"):
            Bucket(port, f"a/{side}.zarr").upload(dataset / f"{side}.zarr")
        yield port


@pytest.fixture
def proxy(service: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The way to the service, which can be made to fail."""
    for name in [name for name in os.environ if name not in clean_environment()]:
        monkeypatch.delenv(name)
    with faulty(service) as state:
        for name, value in s3_environment(state.port).items():
            monkeypatch.setenv(name, value)
        yield state


def at(place: str, tmp_path: Path, suffix: str = "", **settings: Any) -> EvaluationConfig:
    """The configuration of stores that lie somewhere, with results of their own."""
    sides = {side: f"{place}/{side}.zarr{suffix}::labels" for side in ("truth", "pred")}
    return pair_config(tmp_path, **sides, **settings)


class TestS3:
    """Both sides in a bucket."""

    @pytest.mark.parametrize(
        "cluster", [{"kind": "threads", "threads": 2}, {"kind": "local", "workers": 2}], ids=str
    )
    def test_figures_are_those_of_the_local_stores(
        self, proxy: Faulty, reference: dict[str, bytes], tmp_path: Path, cluster: dict[str, Any]
    ) -> None:
        """In threads and in worker processes; no request but to list each store once and to read."""
        config = at(f"s3://{BUCKET}/a", tmp_path, cluster=cluster)
        assert figures(evaluate(config)) == reference
        assert {method for method, _, _ in proxy.seen} == {"GET"}
        assert sum("list-type" in path for _, path, _ in proxy.seen) == 2
        proxy.seen.clear()
        assert figures(evaluate(config)) == reference
        assert not any(CHUNK in path for _, path, _ in proxy.seen)
        assert_no_secret(files_below(tmp_path))

    def test_passing_faults_change_no_figure(
        self,
        proxy: Faulty,
        reference: dict[str, bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SEGPIPE_STORE_TIMEOUT", "4")
        faults = iter(["503 SlowDown", "reset", "cut", "hang", "429"])
        proxy.plan = lambda method, path: next(faults, None) if CHUNK in path else None
        assert figures(evaluate(at(f"s3://{BUCKET}/a", tmp_path))) == reference
        assert next(faults, None) is None

    def test_a_service_that_is_lost_loses_nothing_that_was_counted(
        self, proxy: Faulty, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error is one of the infrastructure, no image is quarantined, and the same call goes on."""
        monkeypatch.setenv("SEGPIPE_STORE_TIMEOUT", "2")
        config = at(f"s3://{BUCKET}/a", tmp_path, cluster={"kind": "threads", "threads": 1})
        left = iter(range(8))
        proxy.plan = lambda method, path: "503" if CHUNK in path and next(left, None) is None else None
        with pytest.raises(
            InfrastructureError, match=r"(?s)the service fails \(status 503 Fault\).*same command"
        ):
            evaluate(config)
        assert list((tmp_path / "results" / "partials").rglob("[0-9a-f]" * 40))
        proxy.plan = lambda method, path: None
        assert figures(evaluate(config)) == reference

    def test_an_object_that_vanished_after_the_plan_is_an_error(self, proxy: Faulty, tmp_path: Path) -> None:
        proxy.plan = lambda method, path: "404 NoSuchKey" if path.endswith("labels/c/3/0/0") else None
        with pytest.raises(InputChangedError, match=r"it vanished.*s3://labels/a/.*c/3/0/0"):
            evaluate(at(f"s3://{BUCKET}/a", tmp_path))

    def test_a_bucket_that_vanished_is_not_taken_for_absent_chunks(
        self, proxy: Faulty, tmp_path: Path
    ) -> None:
        proxy.plan = lambda method, path: "404 NoSuchBucket" if CHUNK in path else None
        with pytest.raises(InputError, match="no such bucket"):
            evaluate(at(f"s3://{BUCKET}/a", tmp_path, missing_chunks="are_fill_value"))

    def test_an_object_that_must_not_be_read_is_an_error(self, proxy: Faulty, tmp_path: Path) -> None:
        proxy.plan = lambda method, path: "403 AccessDenied" if path.endswith("c/3/0/0") else None
        with pytest.raises(InputError, match=r"(?s)refuses access.*c/3/0/0.*may list the bucket and read"):
            evaluate(at(f"s3://{BUCKET}/a", tmp_path))


class TestElsewhere:
    """Web servers and archives."""

    @pytest.mark.parametrize("headers", [{}, {"etag": False, "modified": False, "parts": False}], ids=str)
    def test_figures_from_a_web_server_are_those_of_the_folder(
        self, dataset: Path, reference: dict[str, bytes], tmp_path: Path, headers: dict[str, bool]
    ) -> None:
        """Without consolidated metadata ids are found by name, but no metadata columns."""
        with serving(web_folder(dataset, **headers)) as port:
            config = at(f"http://127.0.0.1:{port}", tmp_path)
            run = evaluate(config)
            assert read_matrix(run) == read_matrix(dataset / "reference/suite/model/runs", newest=True)
            again = evaluate(config)
        assert json.loads((again / "counted.json").read_text())["counted"] == 0

    def test_consolidated_metadata_show_the_columns(
        self, reference: dict[str, bytes], tmp_path: Path
    ) -> None:
        write_pair(tmp_path, IMAGES)
        for side in ("truth", "pred"):
            consolidate(tmp_path / f"{side}.zarr")
        with serving(web_folder(tmp_path)) as port:
            assert figures(evaluate(at(f"http://127.0.0.1:{port}", tmp_path))) == reference

    def test_an_unfinished_store_is_no_store_without_images(self, tmp_path: Path) -> None:
        """Its record of what was written cannot be listed, which must not look as if nothing was."""
        write_pair(tmp_path, IMAGES)
        edit_json(
            tmp_path / "pred.zarr/zarr.json",
            lambda document: document["attributes"].update(segpipe={"complete": False}),
        )
        with serving(web_folder(tmp_path)) as port:
            with pytest.raises(InputError, match=r"writer has not finished.*cannot be listed"):
                evaluate(at(f"http://127.0.0.1:{port}", tmp_path))

    def test_an_absent_chunk_is_seen_without_a_listing(self, tmp_path: Path) -> None:
        write_pair(tmp_path, IMAGES)
        (tmp_path / "pred.zarr/labels/c/2/1/0").unlink()
        with serving(web_folder(tmp_path)) as port:
            with pytest.raises(InputError, match=r"1 of 6 chunks absent.*pred.*http://.*chunk c/2/1/0"):
                evaluate(at(f"http://127.0.0.1:{port}", tmp_path))

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
    def test_figures_from_archives_are_those_of_the_folder(
        self, dataset: Path, reference: dict[str, bytes], tmp_path: Path, method: int
    ) -> None:
        for side in ("truth", "pred"):
            with zipfile.ZipFile(tmp_path / f"{side}.zarr.zip", "w", method) as archive:
                for path in sorted((dataset / f"{side}.zarr").rglob("*")):
                    archive.write(path, path.relative_to(dataset / f"{side}.zarr"))
        assert figures(evaluate(at(str(tmp_path), tmp_path, ".zip"))) == reference


class TestSecrets:
    """A secret of the environment is in no file of a run and in nothing that is printed."""

    @pytest.mark.parametrize("fault", [None, "403 AccessDenied", "503"])
    def test_secrets_are_nowhere(self, proxy: Faulty, tmp_path: Path, fault: str | None, warm: Warm) -> None:
        """Whether it goes well or not, and with tracebacks."""
        proxy.plan = lambda method, path: fault if CHUNK in path else None
        config = tmp_path / "config.yaml"
        config.write_text(at(f"s3://{BUCKET}/a", tmp_path).to_yaml())
        environment = {
            **os.environ,
            "SEGPIPE_TRACEBACK": "1",
            "SEGPIPE_STORE_TIMEOUT": "1.5" if fault == "503" else "12",
        }
        done = warm.run(COMMAND, ["evaluate", config], environment=environment)
        assert done.returncode == {None: 0, "403 AccessDenied": 1, "503": 4}[fault], done.stderr
        assert proxy.signed[-1]
        assert_no_secret(
            {"stdout": done.stdout.encode(), "stderr": done.stderr.encode(), **files_below(tmp_path)}
        )


def files_below(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_no_secret(texts: dict[str, bytes]) -> None:
    """Neither the key nor its name is anywhere."""
    assert len(texts) > 5
    for place, data in texts.items():
        assert SECRET.encode() not in data, place
        assert KEY_ID.encode() not in data, place


def read_matrix(run: Path, *, newest: bool = False) -> bytes:
    """The summed confusion matrix of a run."""
    folder = max(run.iterdir()) if newest else run
    return (folder / "confusion.csv").read_bytes()
