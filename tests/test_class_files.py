"""The shipped class files: the facts in them, and what an evaluation makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segpipe.config import ClassesConfig, make_config
from segpipe.errors import ConfigError
from segpipe.resources import config_names, config_text

STORES = {"truth": "truth.zarr", "pred": "pred.zarr"}

COUNTS = {
    "ade20k": 150,
    "camvid": 11,
    "cityscapes": 19,
    "cityscapes-ids": 19,
    "coco-stuff": 171,
    "coco-stuff-png": 171,
    "pascal-voc": 21,
}

SPOTS: dict[str, list[tuple[int, str, int, tuple[int, int, int]]]] = {
    "ade20k": [
        (0, "wall", 1, (120, 120, 120)),
        (2, "sky", 3, (6, 230, 230)),
        (12, "person", 13, (150, 5, 61)),
        (20, "car", 21, (0, 102, 200)),
        (149, "flag", 150, (92, 0, 255)),
    ],
    "camvid": [
        (0, "sky", 0, (128, 128, 128)),
        (3, "road", 3, (128, 64, 128)),
        (10, "bicyclist", 10, (0, 128, 192)),
    ],
    "cityscapes": [
        (0, "road", 0, (128, 64, 128)),
        (13, "car", 13, (0, 0, 142)),
        (18, "bicycle", 18, (119, 11, 32)),
    ],
    "cityscapes-ids": [
        (0, "road", 7, (128, 64, 128)),
        (13, "car", 26, (0, 0, 142)),
        (16, "train", 31, (0, 80, 100)),
        (18, "bicycle", 33, (119, 11, 32)),
    ],
    "coco-stuff": [
        (0, "person", 1, (128, 0, 0)),
        (11, "stop sign", 13, (192, 0, 128)),
        (79, "toothbrush", 90, (96, 192, 0)),
        (80, "banner", 92, (96, 64, 128)),
        (145, "sky-other", 157, (192, 96, 128)),
        (170, "wood", 182, (0, 224, 192)),
    ],
    "coco-stuff-png": [(0, "person", 0, (128, 0, 0)), (170, "wood", 181, (0, 224, 192))],
    "pascal-voc": [
        (0, "background", 0, (0, 0, 0)),
        (1, "aeroplane", 1, (128, 0, 0)),
        (15, "person", 15, (192, 128, 128)),
        (20, "tvmonitor", 20, (0, 64, 128)),
    ],
}
"""Class id, name, raw label, colour."""

IGNORED = {
    "ade20k": [0],
    "camvid": [11],
    "cityscapes": [255],
    "cityscapes-ids": [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30],
    "coco-stuff": [0],
    "coco-stuff-png": [255],
    "pascal-voc": [255],
}

every_file = pytest.mark.parametrize("name", config_names("classes"))


def classes_of(name: str) -> ClassesConfig:
    return make_config({**STORES, "classes": name}).classes


@every_file
def test_names_and_colours_are_complete_and_differ(name: str) -> None:
    """As many classes as the dataset has; no name twice; no colour twice but the one of ADE20K."""
    classes = classes_of(name)
    assert len(classes.names) == len(set(classes.names)) == len(classes.colors) == COUNTS[name]
    assert all(one == one.strip() for one in classes.names)
    twice = 1 if name == "ade20k" else 0
    assert len(set(classes.colors)) == COUNTS[name] - twice


@every_file
def test_known_classes_have_their_labels_and_colours(name: str) -> None:
    """Spot values of the published lists."""
    config = make_config({**STORES, "classes": name})
    rules = config.rules("truth")
    for class_id, class_name, label, color in SPOTS[name]:
        assert config.classes.names[class_id] == class_name
        assert config.classes.colors[class_id] == color
        assert rules.code(label) == class_id


@every_file
def test_labels_of_no_class_are_ignored_in_truth_and_invalid_in_pred(name: str) -> None:
    """Every other raw value is invalid: a prediction in the wrong numbering is told, not scored."""
    config = make_config({**STORES, "classes": name})
    truth, pred = config.rules("truth"), config.rules("pred")
    ignored = [value for value in range(300) if truth.code(value) == truth.no_class]
    assert ignored == IGNORED[name]
    assert sum(truth.code(value) < truth.num_classes for value in range(300)) == COUNTS[name]
    assert all(pred.code(value) == pred.invalid for value in ignored)


def test_coco_stuff_has_its_gaps() -> None:
    """The eleven classes of COCO that were never annotated have no label; the PNG maps are one less."""
    ids = classes_of("coco-stuff").ids
    assert ids is not None
    assert sorted(set(range(1, 183)) - set(ids)) == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91]
    assert classes_of("coco-stuff-png").ids == tuple(label - 1 for label in ids)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (
            "cityscapes",
            {"flat": 2, "construction": 3, "object": 3, "nature": 2, "sky": 1, "human": 2, "vehicle": 6},
        ),
        ("pascal-voc", {"person": 1, "animal": 6, "vehicle": 7, "indoor": 6}),
        ("coco-stuff", {"things": 80, "stuff": 91}),
    ],
)
def test_groups_are_those_of_the_dataset(name: str, sizes: dict[str, int]) -> None:
    """The categories, which share no class."""
    classes = classes_of(name).class_list()
    assert {group.name: len(group.members) for group in classes.groups} == sizes
    assert not classes.groups_overlap


@every_file
def test_every_file_names_its_source(name: str) -> None:
    """Where the facts come from stands in the file."""
    assert "Source:" in config_text(f"classes/{name}")


def test_a_config_goes_before_the_class_file() -> None:
    """`file` takes a class file as the base; what stands beside it, and `ignore_labels`, replace its own."""
    classes = {"file": "cityscapes", "groups": {"moving": ["car", 11]}}
    config = make_config({**STORES, "classes": classes, "ignore_labels": [254]})
    assert config.classes.names == classes_of("cityscapes").names
    assert [(group.name, group.members) for group in config.class_list().groups] == [("moving", (11, 13))]
    assert config.ignore_labels == (254,)
    assert make_config({**STORES, "classes": "cityscapes", "ignore_labels": []}).ignore_labels == ()
    override = make_config({**STORES, "classes": "camvid"}, ["classes.groups={up: [sky]}"])
    assert override.class_list().groups[0].members == (0,)
    assert len(override.classes.names) == 11


def test_a_resolved_config_loads_again() -> None:
    """What a class file said stands in the resolved configuration, and says the same there."""
    for name in COUNTS:
        config = make_config({**STORES, "classes": name})
        again = make_config(config.model_dump(mode="json"))
        assert again == config


def test_class_files_do_not_build_upon_themselves(tmp_path: Path) -> None:
    """A circle is told, and so is a file that holds no classes."""
    circle, text = tmp_path / "circle.yaml", tmp_path / "text.yaml"
    circle.write_text(f"file: {circle}\n")
    text.write_text("- road\n")
    with pytest.raises(ConfigError, match="classes: file: more than 4 class files build upon one another"):
        make_config({**STORES, "classes": str(circle)})
    with pytest.raises(ConfigError, match="is no class file; it holds keys such as names"):
        make_config({**STORES, "classes": {"file": str(text)}})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"classes": {"names": ["a", "b"], "ids": [3]}},
            "classes: ids: found 1, expected one for each of the 2 classes",
        ),
        (
            {"classes": {"names": ["a", "b"], "ids": [3, 3]}},
            "ids: label 3 is given to two classes; to merge labels use remap",
        ),
        (
            {"classes": {"names": ["a"], "ids": [3], "reduce_zero_label": True}},
            "ids and reduce_zero_label both say which label is which class",
        ),
        (
            {"classes": "coco-stuff", "reduce_zero_label": True},
            "reduce_zero_label and classes.ids both say what labels mean",
        ),
        (
            {"classes": 3, "reduce_zero_label": True, "remap": {5: 0}},
            "reduce_zero_label and remap both say what labels mean; give one of them",
        ),
        (
            {"classes": 3, "pred": {"store": "p", "reduce_zero_label": True, "remap": {5: 0}}},
            "pred.reduce_zero_label and pred.remap both say",
        ),
        (
            {"classes": 3, "reduce_zero_label": True, "ignore_labels": [2]},
            "label 2 is remapped to class 1 and declared to be no class",
        ),
        ({"classes": {"names": ["a"], "groups": {"g": ["b"]}}}, "groups.g: no class 'b' among the 1 classes"),
        (
            {"classes": {"names": ["a"], "groups": {"g": []}}},
            "groups: 'g' has the classes .*name one or more",
        ),
        ({"classes": {"names": ["a"], "groups": {" ": ["a"]}}}, "' ' is no name for a class or a group"),
        ({"classes": {"names": ["a"], "ignore_labels": ["x"]}}, "classes.ignore_labels.0: "),
    ],
    ids=str,
)
def test_mistakes_are_told(settings: dict[str, Any], words: str) -> None:
    """Contradictions of ids, remap, reduce_zero_label and groups, by their keys."""
    with pytest.raises(ConfigError, match=words):
        make_config({**STORES, **settings})


def test_what_labels_mean_is_said_by_the_nearest_key() -> None:
    """A side's own rule goes before the common one, and that before the class file's."""
    zero = make_config({**STORES, "classes": 3, "reduce_zero_label": True})
    assert [zero.rules("truth").code(value) for value in range(5)] == [3, 0, 1, 2, 4]
    assert [zero.rules("pred").code(value) for value in range(5)] == [4, 0, 1, 2, 4]

    own = {"store": "p", "reduce_zero_label": False}
    ade = make_config({**STORES, "classes": "ade20k", "pred": own})
    assert [ade.rules("pred").code(value) for value in (0, 149, 150)] == [0, 149, 151]
    assert ade.rules("truth").code(150) == 149

    remapped = make_config({**STORES, "classes": "coco-stuff", "remap": {7: "person"}})
    assert remapped.rules("pred").codes == {7: 0}
    side = {"store": "p", "remap": {9: 1}}
    both = make_config({**STORES, "classes": 3, "reduce_zero_label": True, "pred": side})
    assert both.rules("pred").codes == {9: 1}
