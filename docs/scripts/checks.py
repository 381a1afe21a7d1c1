"""Writes docs/checks.md and docs/schemas/policy.schema.json from the checks themselves.

Usage: python docs/scripts/checks.py

tests/audit/test_recipe.py compares what is written here with what stands in the files.
"""

from __future__ import annotations

import json
from pathlib import Path

from inspector.auditing.policy_template import make_policy_schema
from inspector.auditing.reference import write_checks_page

DOCS = Path(__file__).resolve().parents[1]


def write_pages() -> dict[Path, str]:
    """What should stand in the files."""
    return {
        DOCS / "checks.md": write_checks_page(),
        DOCS / "schemas" / "policy.schema.json": json.dumps(make_policy_schema(), indent=2) + "\n",
    }


if __name__ == "__main__":
    for file, text in write_pages().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
