"""Writes docs/schemas/preprocess.schema.json and docs/schemas/metadata.schema.json from the dataclasses, for editors.

Usage: python docs/scripts/schemas.py

tests/test_schemas.py compares what is written here with what stands in the files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from inspector.image import Preprocess
from inspector.metadata import SCHEMA, Metadata

FOLDER = Path(__file__).resolve().parents[1] / "schemas"


def write_schemas() -> dict[Path, str]:
    """What should stand in the files."""
    metadata = _describe(Metadata, "The metadata document in an .onnx file")
    version = {"const": SCHEMA, "description": "Version of this form."}
    metadata["properties"] = {"schema": version, **metadata["properties"]}
    metadata["required"] = ["schema"]
    schemas = {"metadata": metadata, "preprocess": _describe(Preprocess, "A preprocess, as --preprocess reads it")}
    return {
        FOLDER / f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }


def _describe(kind: type, title: str) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("description", None)  # what a class says of itself; some versions of pydantic take it in, some do not
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


if __name__ == "__main__":
    for file, text in write_schemas().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
