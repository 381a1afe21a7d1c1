"""The JSON schemas of the documents."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inspector.image import NAMED, Preprocess
from tests.conftest import ROOT
from tests.test_metadata import FULL

SCHEMAS = runpy.run_path(str(ROOT / "docs" / "scripts" / "schemas.py"))["write_schemas"]()


def schema(name: str) -> Any:
    return next(json.loads(text) for path, text in SCHEMAS.items() if path.name == f"{name}.schema.json")


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_the_schemas_in_docs_are_those_of_the_code(path: Path) -> None:
    assert path.read_text("utf-8") == SCHEMAS[path], "run: python docs/scripts/schemas.py"


@pytest.mark.parametrize("name", NAMED)
def test_every_preprocess_fits(name: str) -> None:
    for preprocess in (Preprocess.named(name, (8, 9)), replace(Preprocess.named(name), resize="pad", dtype="float16")):
        jsonschema.validate(preprocess.to_json(), schema("preprocess"))


@pytest.mark.parametrize("document", [{"sizes": [1, 2]}, {"size": [1]}, {"filter": "cubic"}, {"mean": ["a"]}, []])
def test_what_is_refused_does_not_fit(document: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema("preprocess"))


def test_a_full_document_fits() -> None:
    metadata = schema("metadata")
    jsonschema.Draft202012Validator.check_schema(metadata)
    jsonschema.validate(json.loads(FULL.dumps()), metadata)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"labels": []}, metadata)
    described = metadata["properties"]["cam_layer"]["description"]
    assert described == "Name of the layer that class activation maps look at."
