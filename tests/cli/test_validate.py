"""`segpipe validate`: everything that is wrong with a dataset at once, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from segpipe.planning.plan import Plan
from segpipe.run import planned, validated
from segpipe.sources import storage
from tests.cli.conftest import Segpipe
from tests.run.datasets import image_ids, label_maps, pair_config, write_stacked
from tests.warm import COMMAND, Warm

IMAGES = 24


@pytest.fixture(autouse=True)
def _young_files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RACY_S", 0.02)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """24 images: truth in chunks of 4, pred in shards of 4 of which two chunks of 1 were never written."""
    truth, pred = label_maps(IMAGES)
    truth[2, 20, 3], pred[3, 5, 7], pred[9:11] = 77, 200, 0
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(IMAGES))
    shards: dict[str, Any] = {"chunks": (1, 24, 32), "shards": (4, 24, 32)}
    config = {"write_empty_chunks": False}
    write_stacked(tmp_path / "pred.zarr", pred, ids=image_ids(IMAGES), config=config, **shards)
    return tmp_path


def config_file(dataset: Path, **settings: Any) -> Path:
    """A configuration of the dataset as a file."""
    path = dataset / "config.yaml"
    path.write_text(yaml.safe_dump(pair_config(dataset, bucket_images=4, **settings).model_dump(mode="json")))
    return path


def damage(dataset: Path) -> None:
    """Cut one chunk short, lose another."""
    (dataset / "truth.zarr/labels/c/3/0/0").write_bytes(b"x")
    (dataset / "truth.zarr/labels/c/5/0/0").unlink()


def told(document: Any) -> list[tuple[str, str, str, str]]:
    """Kind, side, image and chunk of every problem of a JSON document, sorted."""
    rows = document["error"]["problems"]
    return sorted((row["kind"], row["side"], row["image"], row["chunk"]) for row in rows)


EVERYTHING = [
    ("invalid pred", "pred", "img_003", "c/0/0/0"),
    ("invalid truth", "truth", "img_002", "c/0/0/0"),
    ("missing chunk", "pred", "img_009", "c/2/0/0"),
    ("missing chunk", "pred", "img_010", "c/2/0/0"),
    ("missing chunk", "truth", "", "c/5/0/0"),
    *(("decode", "truth", name, "c/3/0/0") for name in image_ids(IMAGES)[12:16]),
]


@pytest.mark.parametrize("cluster", ["threads", {"kind": "local", "workers": 1}], ids=["threads", "dask"])
def test_deep_lists_everything_at_once_and_writes_nothing(
    segpipe: Segpipe, dataset: Path, cluster: Any
) -> None:
    """Damaged, absent and never written chunks, and labels outside the rules; exit 1 as the evaluation."""
    damage(dataset)
    config = config_file(dataset, cluster=cluster)
    done = segpipe("validate", config, "--deep", "--json")
    assert done.code == 1
    assert told(done.document) == sorted(EVERYTHING)
    assert {row["array"] for row in done.document["error"]["problems"]} == {"labels"}
    assert all(row["store"].startswith(str(dataset)) for row in done.document["error"]["problems"])
    assert "counted 20 of 24 images" in done.err
    assert not (dataset / "results").exists()
    assert segpipe("evaluate", config).code == 1


def test_without_deep_no_label_map_is_read(segpipe: Segpipe, dataset: Path) -> None:
    """What the listing and the metadata tell is told; what only pixels tell is not."""
    config = config_file(dataset)
    assert segpipe("validate", config).code == 0
    damage(dataset)
    done = segpipe("validate", config, "--json")
    assert (done.code, told(done.document)) == (1, [("missing chunk", "truth", "", "c/5/0/0")])


RULES = {"missing_chunks": "are_fill_value", "invalid_truth": "ignore", "invalid_pred": "count_as_miss"}


def test_damage_alone_is_incomplete_and_what_is_allowed_is_told(segpipe: Segpipe, dataset: Path) -> None:
    """Exit 3 as the evaluation; with `max_quarantined` exit 0, and every allowed problem is listed."""
    damage(dataset)
    config = config_file(dataset, **RULES)
    done = segpipe("validate", config, "--deep", "--json")
    assert (done.code, {kind for kind, *_ in told(done.document)}) == (3, {"decode"})
    assert segpipe("evaluate", config).code == 3

    done = segpipe("validate", config, "--deep", "--set", "max_quarantined=4")
    assert done.code == 0
    assert "20 images, 15,360 pixels of either side" in done.out
    assert "allowed by the settings: decode" in done.out
    assert "label 200 in 1 pixels" in done.out
    assert segpipe("evaluate", config, "--set", "max_quarantined=4").code == 0


def test_a_whole_dataset_is_ok(segpipe: Segpipe, dataset: Path) -> None:
    """Everything was read, and nothing is left to tell."""
    done = segpipe("validate", config_file(dataset, **RULES), "--deep", "--set", "ignore_labels=[255,77]",
                   "--set", "void_labels=[200]", "--json")  # fmt: skip
    assert (done.code, done.document["ok"], done.document["problems"]) == (0, True, [])
    assert done.document["checked"]["read"] == "24 images, 18,432 pixels of either side"


def test_objects_that_change_while_they_are_read_are_told(
    segpipe: Segpipe, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chunks, written again and deleted after the listing."""

    def disturbed(plan: Plan, *given: Any) -> Any:
        found = planned.look_through(plan, *given)
        again = dataset / "truth.zarr/labels/c/0/0/0"
        again.write_bytes(again.read_bytes())
        (dataset / "truth.zarr/labels/c/4/0/0").unlink()
        return found

    monkeypatch.setattr(validated, "look_through", disturbed)
    done = segpipe("validate", config_file(dataset, **RULES), "--deep", "--json")
    assert done.code == 1
    assert [(kind, chunk) for kind, _, _, chunk in told(done.document)] == [
        ("input changed", "c/0/0/0"),
        ("input changed", "c/4/0/0"),
    ]


def test_every_document_is_held_against_what_was_planned(
    segpipe: Segpipe, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata that say something else than what consolidated metadata said of the array."""

    def disturbed(plan: Plan, *given: Any) -> Any:
        path = dataset / "pred.zarr/labels/zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fill_value": 7}))
        return planned.look_through(plan, *given)

    monkeypatch.setattr(validated, "look_through", disturbed)
    done = segpipe("validate", config_file(dataset, **RULES), "--deep", "--json")
    assert done.code == 1
    (row,) = done.document["error"]["problems"]
    assert (row["kind"], row["side"], row["array"]) == ("metadata", "pred", "labels")
    assert "fill_value 0 in consolidated metadata and 7 in its own document" in row["found"]


def test_objects_that_are_no_chunks_are_warned_of(segpipe: Segpipe, dataset: Path) -> None:
    """A shape that was made smaller by hand leaves chunks beyond it, which nobody would miss."""
    for side in ("truth", "pred"):
        for path in (dataset / f"{side}.zarr").rglob("zarr.json"):
            document = json.loads(path.read_text())
            if document["node_type"] == "array" and path.parent.name == "labels":
                path.write_text(json.dumps(document | {"shape": [20, 24, 32]}))
    ids = image_ids(20)
    config = config_file(dataset, image_table=None)
    for side in ("truth", "pred"):
        labels = dataset / f"{side}.zarr/labels/zarr.json"
        document = json.loads(labels.read_text())
        document["attributes"] = {"image_ids": ids}
        labels.write_text(json.dumps(document))
        (dataset / f"{side}.zarr/image/zarr.json").unlink()
    done = segpipe("validate", config, "--json")
    assert done.code == 0
    assert "Objects below the arrays of truth are no chunks of theirs (1, such as labels/c/5/0/0)" in str(
        done.document["warnings"]
    )


def test_deep_in_a_process_of_its_own(dataset: Path, warm: Warm) -> None:
    """The exit code and the message reach the shell."""
    damage(dataset)
    done = warm.run(COMMAND, ["validate", config_file(dataset, **RULES), "--deep"])
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: 4 of 24 images cannot be read (max_quarantined: 0)" in done.stderr
    assert "Traceback" not in done.stderr
