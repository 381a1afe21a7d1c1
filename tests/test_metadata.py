from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import MetadataError
from inspector.image import Preprocess
from inspector.metadata import KEY, LayerEntry, Metadata, parse_labels, read_metadata

FULL = Metadata(
    preprocess=Preprocess.named("imagenet", (224, 192)),
    labels=("tench", "Egyptian cat", "日本"),
    layers=(LayerEntry("conv1", "t0", "conv"), LayerEntry("relu", "t1", "activation", ("act", "block1_conv1"))),
    cam_layer="relu",
    output="logits",
    activation="softmax",
    source={"spec": "torchvision:resnet18"},
    training={"epochs": 3},
    licence="Apache-2.0",
    versions={"torch": "2.6"},
)


@pytest.mark.parametrize("metadata", [FULL, Metadata(), FULL.with_(labels=None, preprocess=None, layers=())])
def test_round_trip(metadata: Metadata) -> None:
    text = metadata.dumps()
    assert read_metadata({KEY: text}) == metadata
    assert read_metadata({KEY: text}).dumps() == text
    assert json.loads(text)["schema"] == 1


def test_without_a_document_everything_is_absent() -> None:
    assert read_metadata({}) == Metadata()
    assert read_metadata({"author": "someone"}) == Metadata()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the metadata document is not JSON"),
        ("[1]", "is not a JSON object"),
        ("{}", "has schema None; this version reads 1"),
        ('{"schema":2}', "has schema 2; this version reads 1"),
        ('{"schema":1,"labels":"cat"}', "labels must be a list of names"),
        ('{"schema":1,"labels":[["cat"]]}', "labels must be a list of names"),
        ('{"schema":1,"layers":5}', "layers in the metadata must be a list"),
        ('{"schema":1,"layers":[{"name":"a"}]}', "a layer in the metadata lacks its name, tensor or kind"),
        ('{"schema":1,"layers":[{"name":"a","tensor":"b","kind":"c","aliases":"d"}]}', "aliases of layer 'a'"),
        ('{"schema":1,"cam_layer":[]}', "cam_layer in the metadata must be text"),
        ('{"schema":1,"source":[1]}', "source in the metadata must be an object"),
        ('{"schema":1,"activation":"relu"}', "activation 'relu' in the metadata is none of"),
        ('{"schema":1,"activation":[]}', "activation [] in the metadata is none of"),
        ('{"schema":1,"preprocess":[]}', "the preprocess is malformed: list instead of an object"),
        ('{"schema":1,"preprocess":{"sizes":[1,2]}}', "the preprocess has unknown keys: sizes"),
        ("[" * 100_000, "is not JSON"),
        ('{"schema":1,"labels":["' + "x" * 17_000_000 + '"]}', "characters"),
    ],
)
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read_metadata({KEY: text})
    assert message in caught.value.message
    assert len(str(caught.value)) < 700


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "preprocess",
    "labels",
    "layers",
    "cam_layer",
    "output",
    "activation",
    "source",
    "training",
    "licence",
    "versions",
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        read = read_metadata({KEY: json.dumps({"schema": 1, **document})})
    except MetadataError:
        return
    assert read_metadata({KEY: read.dumps()}) == read


@given(st.dictionaries(st.sampled_from(list(Preprocess.__dataclass_fields__)), JSON))
def test_any_json_is_a_preprocess_or_refused(document: dict[str, Any]) -> None:
    try:
        read = Preprocess.from_json(document)
    except MetadataError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert Preprocess.from_json(json.loads(json.dumps(read.to_json()))) == read


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeff cat \r\n\r\ndog", ("cat", "dog")),
        ('["cat", "dog"]', ("cat", "dog")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', ("tench", "goldfish")),
        ('{"10": "k", "2": "c", "0": "a", "1": "b", "3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i",'
         '"9": "j"}',
         tuple("abcdefghijk")),
        ("[0, 1]", ("0", "1")),
    ],
)  # fmt: skip
def test_labels(text: str, labels: tuple[str, ...]) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the labels are empty"),
        (" \n ", "the labels are empty"),
        ("[]", "the labels are empty"),
        ("{}", "the labels are empty"),
        ('["cat"', "the labels are not JSON"),
        ('{"cat": 0}', "needs class indices as keys"),
        ('{"0": "cat", "2": "dog"}', "2 entries but indices up to 2"),
        ('{"0": "cat", "00": "dog"}', "indices"),
        ('[["a", ["b"]]]', "labels must be a list of names"),
        ("[{}]", "labels must be a list of names"),
        ('{"²": "x"}', "needs class indices as keys"),
    ],
)
def test_labels_refused(text: str, message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        parse_labels(text)


def test_control_characters_in_labels_are_not_kept() -> None:
    assert parse_labels("c\x1b[31mat\ndog") == ("c [31mat", "dog")
    assert read_metadata({KEY: '{"schema":1,"labels":["a\\u001b[2Jb"]}'}).labels == ("a [2Jb",)


def test_wordnet_ids_before_every_label_are_left_out() -> None:
    text = "n02123045 tabby, tabby cat\nn02124075\tEgyptian cat, Egyptian mau"
    assert parse_labels(text) == ("tabby, tabby cat", "Egyptian cat, Egyptian mau")
    assert parse_labels("n02123045 tabby\ncat") == ("n02123045 tabby", "cat")
    assert parse_labels("n02123045\nn02124075") == ("n02123045", "n02124075")
