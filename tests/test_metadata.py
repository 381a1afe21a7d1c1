from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.documents import DoesNotFitError, build_value, find_misfits
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


def test_all_mistakes_are_said_at_once() -> None:
    document = {
        "schema": 1,
        "preprocess": {"size": "big", "crop": 1, "scale": 0},
        "labels": "cat",
        "layers": [{"name": "a"}, {"name": "b"}, {"name": "c", "tensor": "t", "kind": "conv", "aliases": [1]}],
        "cam_layer": 3,
        "source": [],
    }
    with pytest.raises(MetadataError) as caught:
        read_metadata({KEY: json.dumps(document)})
    assert caught.value.message == (
        "the preprocess has unknown keys: crop; malformed: size 'big' (height, width), scale 0 (it must be positive); "
        "labels must be a list of names; a layer in the metadata lacks its name, tensor or kind; "
        "the aliases of layer 'c' must be a list of names; cam_layer in the metadata must be text; "
        "source in the metadata must be an object"
    )
    assert caught.value.hint == "write it again with `inspector annotate`"


def test_null_is_absent_and_unknown_keys_are_left_out() -> None:
    document = {"schema": 1, "labels": None, "layers": None, "source": None, "preprocess": None, "later": {"x": 1}}
    assert read_metadata({KEY: json.dumps(document)}) == Metadata()


def test_a_good_document_is_read_without_pydantic() -> None:
    code = (
        "import sys\n"
        "from inspector.metadata import read_metadata\n"
        f"read_metadata({{{KEY!r}: {FULL.dumps()!r}}})\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# A few characters that matter, since the first draw of any character at all loads hypothesis' table of Unicode.
TEXT = st.text(st.sampled_from("a0.\0\n\u202e日\ud800"), max_size=3)
NUMBERS = (0, 1, 224, -1, 10**400, 2**63, 0.5, -0.0, 1e300, float("inf"), -float("inf"))
SINGLE = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), TEXT)
DEEP: list[object] = []
for _ in range(60):
    DEEP = [DEEP]
JSON = st.one_of(
    SINGLE,
    st.just(DEEP),
    st.lists(SINGLE, max_size=3),
    st.dictionaries(TEXT, SINGLE, max_size=2),
    st.lists(st.dictionaries(st.sampled_from(["name", "tensor", "kind", "aliases"]), SINGLE, max_size=4), max_size=2),
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


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_what_is_built_is_what_pydantic_takes(document: dict[str, Any]) -> None:
    document.pop("preprocess", None)
    try:
        build_value(Metadata, document)
    except DoesNotFitError:
        assert find_misfits(Metadata, document)
    else:
        assert not find_misfits(Metadata, document)


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
