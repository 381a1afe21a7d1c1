"""The one table of checks, and how a project adds its own.

    from inspector.audit import Verdict, check

    @check("no-sigmoid", family="project", title="The graph has no sigmoid", limits={"max": Limit(0, "sigmoids")})
    def no_sigmoid(subject, limits):
        count = sum(node.op_type == "Sigmoid" for node in subject.graph.nodes)
        ...
        return Verdict(...)

and in its pyproject.toml ``[project.entry-points."inspector.checks"]`` with ``mine = "mypackage.checks"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from inspector.audit.result import Severity, Verdict
from inspector.errors import UsageError, one_line

if TYPE_CHECKING:
    from inspector.audit.probes import Probe

GROUP = "inspector.checks"
FAMILIES = ("file", "numerics", "representation", "behaviour", "explanation", "drift", "cost")

Value = float | int | bool | str | list[Any] | None
Run = Callable[..., Verdict]
Kind = Literal["number", "whole", "truth", "text", "list"]

_KINDS: dict[type, Kind] = {bool: "truth", str: "text", list: "list"}
_TYPES: dict[str, type] = {"truth": bool, "text": str, "list": list}
_WORDS: dict[str, str] = {
    "number": "a number", "whole": "a whole number", "truth": "a truth value (true or false)", "text": "a text",
    "list": "a list",
}  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """One setting of a check.

    default: its value where the policy says nothing; None sets no limit. meaning: for the comment in the policy.
    kind: by default that of `default`: a truth value, a text, a list, else a number. A number may be "none" in the
    policy, which measures without judging; a whole one is a setting that the check needs, and may not, unless
    `default` is None or `optional` is set. low, high: the least and the largest that a number may be.
    """

    default: Value
    meaning: str
    kind: Kind | None = None
    low: float | None = None
    high: float | None = None
    optional: bool | None = None

    def expected(self, value: object) -> str:
        """What a value of the policy should be instead, as in "a number"; empty when it is right."""
        kind = self.kind or _KINDS.get(type(self.default), "number")
        if kind in ("truth", "text", "list"):
            return "" if isinstance(value, _TYPES[kind]) else _WORDS[kind]
        optional = (kind == "number" or self.default is None) if self.optional is None else self.optional
        if optional and value == "none":
            return ""
        types: Any = int if kind == "whole" else int | float
        # Beyond 2^53 a whole number is none as a float; the comparison is False for NaN.
        if not isinstance(value, types) or isinstance(value, bool) or not -(2**53) <= value <= 2**53:
            return _WORDS[kind] + (' or "none"' if optional else "")
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            bounds = (
                f"from {self.low:g}" if self.low is not None else "",
                f"to {self.high:g}" if self.high is not None else "",
            )
            return f"{_WORDS[kind]} {' '.join(filter(None, bounds))}"
        return ""


@dataclass(frozen=True)
class Check:
    """One entry of the table.

    run(subject, limits, *probes) -> Verdict. probes: what has to have watched the pictures before it is called.
    on: whether the built-in policy runs it. help: the sentences of its docstring.
    """

    id: str
    family: str
    title: str
    severity: Severity
    run: Run = field(repr=False)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    probes: tuple[type[Probe], ...] = ()
    on: bool = True

    @property
    def help(self) -> str:
        """The docstring in one line."""
        return one_line(self.run.__doc__ or self.title, 1000)


class Limits(Mapping[str, Any]):
    """The settings of one check as the policy leaves them: ``limits["max"]``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


_TABLE: dict[str, Check] = {}
_extended = False


def check(
    id: str,
    *,
    family: str,
    title: str,
    severity: Severity = "error",
    limits: Mapping[str, Limit] | None = None,
    probes: tuple[type[Probe], ...] = (),
    on: bool = True,
) -> Callable[[Run], Run]:
    """Register a function as a check. id: lower case with dashes, stable: policies and reports refer to it."""

    def register(run: Run) -> Run:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
            raise UsageError(f"the check id {id!r} is not lower case words with dashes")
        known = _TABLE.get(id)
        if known is not None and (known.run.__module__, known.run.__qualname__) != (run.__module__, run.__qualname__):
            raise UsageError(f"two checks are called {id!r}: {known.run.__module__} and {run.__module__}")
        _TABLE[id] = Check(id, family, title, severity, run, dict(limits or {}), probes, on)
        return run

    return register


def known_checks() -> dict[str, Check]:
    """All checks by id: ours in the order of the families, then those of the installed entry points.

    Raises UsageError when an entry point cannot be loaded: a check that silently stays away is worse.
    """
    global _extended
    import_module("inspector.audit.checks")
    if not _extended:
        for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
            try:
                point.load()
            except UsageError:
                raise
            except Exception as error:  # whatever a stranger's module raises when it is imported
                raise UsageError(
                    f"the checks {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
                    f"repair or uninstall the package that has this entry point of {GROUP}",
                ) from error
        _extended = True
    order = {family: i for i, family in enumerate(FAMILIES)}
    return dict(sorted(_TABLE.items(), key=lambda item: order.get(item[1].family, len(order))))
