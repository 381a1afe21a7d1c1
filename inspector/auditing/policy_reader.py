"""Reads a policy from TOML, and says everything that is wrong with it at once."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, WithJsonSchema, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from inspector.auditing.catalogue import find_checks
from inspector.auditing.limits import Limit, Limits, Value
from inspector.auditing.policy import MAX_BYTES, Demands, Policy, PolicyError, PolicyRule, Table
from inspector.auditing.registry import Check
from inspector.auditing.result import Severity
from inspector.errors import nearest
from inspector.guard import add_inputs

SHOWN = 5
"""Mistakes that are told one by one; the rest are counted."""

_OWN = ("on", "severity", "required")
"""What the policy may say of any check."""


def make_default_policy() -> Policy:
    """The built-in policy: every check as its own file says."""
    return parse_policy({}, Path(), "built in")


def find_policy(given: str | os.PathLike[str] | None = None, folder: Path | None = None) -> Policy:
    """The policy that holds for a call.

    Args:
        given: The policy file; by default ``[tool.inspector.audit]`` of the pyproject.toml in `folder`, and where
            there is none, the built-in policy.
        folder: By default the current one.

    Raises:
        PolicyError: It cannot be read.
    """
    if given is not None:
        return load_policy(given)
    project = (folder or Path()) / "pyproject.toml"
    if project.is_file():
        table = _find_project_table(_read(project))
        if table is not None:
            return parse_policy(table, project.parent, f"{project.name} [tool.inspector.audit]")
    return make_default_policy()


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """A policy from a TOML file; of a pyproject.toml its ``[tool.inspector.audit]``.

    Raises:
        PolicyError: It cannot be read, or is no policy.
    """
    file = Path(path)
    document: Mapping[str, Any] = _read(file)
    if file.name == "pyproject.toml":
        table = _find_project_table(document)
        if table is None:
            raise PolicyError(f"{file} has no [tool.inspector.audit]", "add the table, or give a policy file")
        document = table
    return parse_policy(document, file.parent, str(file))


def parse_policy(document: Mapping[str, Any], folder: Path, source: str) -> Policy:
    """A policy from its document.

    Args:
        document: What TOML gives.
        folder: What its paths are relative to.
        source: Where it was read, for messages.

    Raises:
        PolicyError: With all that is wrong.
    """
    checks = find_checks()
    model = make_document_model(tuple(checks.values()))
    try:
        read = cast(Any, model.model_validate(dict(document), context={"folder": folder}))
    except ValidationError as error:
        problems = [_say(model, problem) for problem in error.errors(include_url=False)]
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise PolicyError(
            f"the policy ({source}) is malformed: {'; '.join(problems[:SHOWN])}{more}",
            "`inspector audit --init` writes one with every setting",
        ) from None
    tables = {id: getattr(read.checks, _field_name(id)) for id in checks}
    return Policy(
        rules={id: _read_rule(checks[id], table) for id, table in tables.items()},
        **{name: getattr(read, name) for name in Demands.model_fields},
        source=source,
    )


@lru_cache(maxsize=4)
def make_document_model(checks: tuple[Check, ...]) -> type[BaseModel]:
    """The whole document as a pydantic model, with a table for each of `checks`."""
    tables: dict[str, Any] = {
        # An alias: a check or a setting may be called as a method of pydantic is, such as "copy".
        _field_name(check.id): (_rule_model(check), Field(default=None, alias=check.id))
        for check in checks
    }
    rules = create_model("Checks", __base__=Table, __doc__="What is said of each check, by its id.", **tables)
    return create_model(
        "AuditPolicy", __base__=Demands, __doc__="What `inspector audit` demands of a model.",
        checks=(rules, Field(default_factory=rules)),
    )  # fmt: skip


def _rule_model(check: Check) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "own_on": (bool, Field(check.on, alias="on", description="whether it runs")),
        "own_severity": (Severity, Field(check.severity, alias="severity", description="of its findings")),
        "own_required": (
            bool,
            Field(False, alias="required", description="that it could not run is then a failure"),
        ),
    }
    for name, limit in check.limits.items():
        kind = Annotated[Any, BeforeValidator(_make_reader(limit)), WithJsonSchema(limit.schema())]
        fields[_field_name(name)] = (kind, Field(limit.default, alias=name))
    return create_model(check.id, __base__=Table, __doc__=f"{check.title}.", **fields)


def _make_reader(limit: Limit) -> Callable[[Any], Value]:
    def read(value: Any) -> Value:
        if expected := limit.expected(value):
            raise PydanticCustomError("policy", "is not {expected}", {"expected": expected})
        return limit.read(value)

    return read


def _field_name(name: str) -> str:
    return "given_" + name.replace("-", "_")


def _read_rule(check: Check, table: Any) -> PolicyRule:
    """The rule of a check, from its table; None where the policy has none for it."""
    if table is None:
        limits = {name: limit.default for name, limit in check.limits.items()}
        return PolicyRule(on=check.on, severity=check.severity, required=False, limits=Limits(limits))
    return PolicyRule(
        on=table.own_on,
        severity=table.own_severity,
        required=table.own_required,
        limits=Limits({name: getattr(table, _field_name(name)) for name in check.limits}),
    )


def _say(model: type[BaseModel], problem: ErrorDetails) -> str:
    """One mistake in words: where it is, what stands there, and what it should be."""
    place = ".".join(map(str, problem["loc"]))
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        names = _names(model, problem["loc"][:-1])
        near = ", ".join(nearest(str(problem["loc"][-1]), names)) if names else "nothing"
        return f"{place} is unknown (nearest: {near})"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"{place} is not a table"
    if kind == "literal_error":
        words = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{place} = {_show(value)} is none of {words}"
    expected = "is not true or false" if kind == "bool_type" else problem["msg"]
    return f"{place} = {_show(value)} {expected}"


def _names(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """What may stand in the table at `loc`."""
    here: Any = model
    for key in loc:
        here = next(field.annotation for name, field in here.model_fields.items() if (field.alias or name) == key)
    return [field.alias or name for name, field in here.model_fields.items()]


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # Python writes no integers of more than 4,300 digits
        return "(too long to show)"
    return text if len(text) <= 40 else text[:39] + "…"


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise PolicyError(f"{file} is larger than 1 MB", "a policy is a short TOML file")
        text = file.read_bytes().decode("utf-8-sig")
        add_inputs("the policy", [file])
        return tomllib.loads(text)
    except FileNotFoundError:
        raise PolicyError(f"there is no policy {file}", "`inspector audit --init` writes one with comments") from None
    except OSError as error:
        raise PolicyError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise PolicyError(f"{file} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # also of an integer with more digits than Python reads
        raise PolicyError(f"{file} is not TOML: {error}") from None


def _find_project_table(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    here: Any = document
    name = ""
    for key in ("tool", "inspector", "audit"):
        name = f"{name}.{key}".lstrip(".")
        here = here.get(key)
        if here is None:
            return None
        if not isinstance(here, Mapping):
            # Left aside, the built-in policy would be taken for what is written there.
            raise PolicyError(
                f"{name} = {_show(here)} in pyproject.toml is not a table", "write [tool.inspector.audit]"
            )
    return cast(Mapping[str, Any], here)
