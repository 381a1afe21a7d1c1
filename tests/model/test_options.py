"""--preprocess and --labels: the same for every command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from inspector.errors import MetadataError
from inspector.image import Preprocess
from inspector.metadata import Metadata
from inspector.model.options import read_labels, read_preprocess

BASE = replace(Preprocess.named("unit", (64, 96), layout="NHWC"), dtype="float16")


def test_a_name_takes_size_layout_type_and_channels_from_the_base() -> None:
    assert read_preprocess("caffe", BASE) == Preprocess.named("caffe", (64, 96), layout="NHWC").with_dtype("float16")
    grey = Preprocess.named("raw", (8, 8), channels=1)
    assert read_preprocess("imagenet", grey).colour == "L"


def test_a_file_in_every_form(tmp_path: Path) -> None:
    mine = Preprocess(size=(32, 32), resize="pad", filter="lanczos")
    file = tmp_path / "p.json"
    for document in (
        mine.to_json(),
        {"schema": 1, "command": "annotate", "preprocess": mine.to_json()},
        json.loads(Metadata(preprocess=mine, labels=("a",)).dumps()),
    ):
        file.write_text(json.dumps(document))
        assert read_preprocess(str(file), BASE) == read_preprocess(file, BASE) == mine
    file.write_text("{}")
    assert read_preprocess(file, BASE) == Preprocess(size=(64, 96), layout="NHWC", dtype="float16")
    assert read_preprocess(mine, BASE) is mine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean: 1", "p.json is not JSON"),
        ("[" * 100_000, "p.json is not JSON"),
        ("[1]", "the preprocess is malformed: list instead of an object"),
        ('{"preprocess": 3}', "the preprocess is malformed: int instead of an object"),
        ('{"crop": 3}', "the preprocess has unknown keys: crop"),
    ],
)
def test_files_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(MetadataError) as caught:
        read_preprocess(file, BASE)
    assert message in str(caught.value)


def test_labels(tmp_path: Path) -> None:
    assert read_labels(["a", "b"]) == ("a", "b")
    (tmp_path / "l.txt").write_text("a\nb\n")
    assert read_labels(tmp_path / "l.txt") == read_labels(str(tmp_path / "l.txt")) == ("a", "b")
    with pytest.raises(MetadataError, match=r"none\.txt cannot be read: No such file"):
        read_labels(tmp_path / "none.txt")
