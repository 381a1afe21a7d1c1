"""The built-in policy, written out: as TOML with comments for people, as a JSON schema for their editors."""

from __future__ import annotations

import json
from typing import Any

from pydantic.fields import FieldInfo

from inspector.auditing.catalogue import find_builtin_checks, find_checks
from inspector.auditing.policy import Demands, Images, Regions, Table
from inspector.auditing.policy_reader import make_document_model

_HEAD = """\
# What `inspector audit` demands of a model. Every value here is the built-in one: leave out what you do not change.
# In a pyproject.toml the same goes under [tool.inspector.audit], [tool.inspector.audit.checks.accuracy] and so on.
# Paths are relative to this file. A limit of "none" measures without judging.
"""


def format_template() -> str:
    """The built-in policy as TOML with a comment on every setting; reading it back gives the same policy."""
    lines = [_HEAD, *_write_table(Demands), "", "# Any [checks.NAME] also takes `required = true`: that it could not"]
    lines[-1] += " run is then a failure."
    for name, table in (("images", Images), ("regions", Regions)):
        lines += ["", f"[{name}]", *_write_table(table)]
    family = ""
    for check in find_checks().values():
        if check.family != family:
            family = check.family
            lines.append(f"\n# --- {family} {'-' * (110 - len(family))}")
        lines += ["", f"# {check.title}.", f"[checks.{check.id}]"]
        lines.append(f"on = {_toml(check.on)}")
        lines.append(f"severity = {_toml(check.severity)}")
        lines += [f"{name} = {_toml(limit.default)}  # {limit.comment}" for name, limit in check.limits.items()]
    return "\n".join(lines) + "\n"


def make_policy_schema() -> dict[str, Any]:
    """The JSON schema of a policy with our own checks, for editors; other people's checks are not in it."""
    schema = make_document_model(tuple(find_builtin_checks().values())).model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Policy of inspector audit"}
    return {**head, **_simplify(schema)}


def _write_table(table: type[Table]) -> list[str]:
    fields = [(name, field) for name, field in table.model_fields.items() if field.description]
    return [f"{f'{name} = {_toml(_plain_default(field))}':<24} # {field.description}" for name, field in fields]


def _plain_default(field: FieldInfo) -> Any:
    """The default as TOML can write it: no path is an empty text, no box an empty list."""
    if field.default is not None:
        return field.default
    return [] if "Box" in str(field.annotation) or "tuple" in str(field.annotation) else ""


def _toml(value: Any) -> str:
    return '"none"' if value is None else json.dumps(value)


def _simplify(node: Any) -> Any:
    """Without the titles that pydantic makes up, and without defaults that only repeat those of the settings."""
    if isinstance(node, list):
        return [_simplify(value) for value in node]
    if not isinstance(node, dict):
        return node
    if len(node.get("allOf", [])) == 1:  # how pydantic before 2.9 writes a reference that has a default
        node = {**node, **node["allOf"][0]}
        del node["allOf"]
    return {
        key: _simplify(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
        and not (key == "default" and (value is None or isinstance(value, dict)))
    }
