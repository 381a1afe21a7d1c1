"""How a check is registered, here and in other people's packages.

Ours stand in ``inspector/auditing/checks/FAMILY/NAME.py``: the file's name is the id (with dashes for the underscores),
the folder's name is the family, and neither is written a second time. A package that brings its own names both::

    from inspector.auditing import Limit, at_most, check

    @check("no-sigmoid", family="project", title="The graph has no sigmoid", limits={"max": Limit(0, "sigmoids")})
    def no_sigmoid(subject, limits):
        count = sum(node.op_type == "Sigmoid" for node in subject.graph.nodes)
        return at_most(count, limits["max"], f"{count} sigmoids")

and has in its pyproject.toml ``[project.entry-points."inspector.checks"]`` with ``mine = "mypackage.checks"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from inspector.auditing.limits import Limit
from inspector.auditing.needs import Need
from inspector.auditing.probes import Probe
from inspector.auditing.result import Severity, Verdict
from inspector.errors import UsageError, one_line

PACKAGE = "inspector.auditing.checks"
"""Where our own checks stand, a folder for each family."""

CheckFunction = Callable[..., Verdict]


# Compared by identity: a check is one entry of the register.
@dataclass(frozen=True, eq=False)
class Check:
    """One check: what it is called, what it needs, what it may be told, and the function that judges.

    Attributes:
        id: Lower case words with dashes; policies and reports refer to it.
        family: What it belongs to in the reports.
        title: What is so when all is well, as a sentence without a full stop.
        severity: What its findings are where the policy says nothing.
        run: ``run(subject, limits, *probes) -> Verdict``.
        limits: Its settings by name.
        probes: What has to have watched the pictures before it is called.
        own_needs: What it needs besides what its probes need.
        asked_by: What somebody gives who wants this check: then it may not be left out in silence.
        remedy: What to do when it finds something.
        on: Whether the built-in policy runs it.
    """

    id: str
    family: str
    title: str
    severity: Severity
    run: CheckFunction = field(repr=False)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    probes: tuple[type[Probe], ...] = ()
    own_needs: tuple[Need, ...] = ()
    asked_by: Need | None = None
    remedy: str = ""
    on: bool = True

    @property
    def help(self) -> str:
        """What it means: the docstring in one line."""
        return one_line(self.run.__doc__ or self.title, 1000)

    @property
    def needs(self) -> tuple[Need, ...]:
        """Everything that it needs, what its probes need first."""
        return tuple(dict.fromkeys([need for probe in self.probes for need in probe.needs] + list(self.own_needs)))


registered: dict[str, Check] = {}
"""All checks whose modules have been imported, by id."""


# Wide: these keywords are how a check is declared, in the words of the recipe in CONTRIBUTING.md.
def check(
    id: str | None = None,
    *,
    title: str,
    family: str | None = None,
    severity: Severity = "error",
    limits: Mapping[str, Limit] | None = None,
    probes: tuple[type[Probe], ...] = (),
    needs: tuple[Need, ...] = (),
    asked_by: Need | None = None,
    remedy: str = "",
    on: bool = True,
) -> Callable[[CheckFunction], CheckFunction]:
    """Register the function below as a check.

    Args:
        id: Lower case with dashes, stable; taken from the file's name below ``inspector/auditing/checks``.
        title: What is so when all is well, without a full stop.
        family: Where it belongs in the reports; taken from the folder's name below ``inspector/auditing/checks``.
        severity: Of its findings, where the policy says nothing.
        limits: Its settings by name.
        probes: What has to watch the pictures; each is given to the function behind the settings.
        needs: What it needs besides what its probes need; checked before it is called.
        asked_by: What somebody gives who wants this check; that it could not run is then a failure.
        remedy: What to do when it finds something, in a sentence.
        on: Whether it runs where the policy says nothing.

    Raises:
        UsageError: The id is malformed, taken, or not that of the file.
    """

    def register(run: CheckFunction) -> CheckFunction:
        own_id, own_family = _identify(run, id, family)
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", own_id):
            raise UsageError(f"the check id {own_id!r} is not lower case words with dashes")
        known = registered.get(own_id)
        if known is not None and (known.run.__module__, known.run.__qualname__) != (run.__module__, run.__qualname__):
            raise UsageError(f"two checks are called {own_id!r}: {known.run.__module__} and {run.__module__}")
        registered[own_id] = Check(
            own_id, own_family, title, severity, run, dict(limits or {}), probes, needs, asked_by, remedy, on
        )
        return run

    return register


def _identify(run: CheckFunction, id: str | None, family: str | None) -> tuple[str, str]:
    """(id, family) of a check: from its file where that is ours, else as given."""
    where = run.__module__.removeprefix(f"{PACKAGE}.").split(".")
    if run.__module__.startswith(f"{PACKAGE}.") and len(where) == 2:
        if id is not None or family is not None:
            raise UsageError(
                f"the check in {run.__module__} is called after its file and folder", "leave out id and family"
            )
        return where[1].replace("_", "-"), where[0]
    if id is None or family is None:
        raise UsageError(
            f"the check {run.__qualname__} in {run.__module__} has no {'id' if id is None else 'family'}",
            'as in @check("no-sigmoid", family="project", title="The graph has no sigmoid")',
        )
    return id, family
