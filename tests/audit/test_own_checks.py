"""Checks that a project brings itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector.auditing import (
    Limit,
    Probe,
    Subject,
    Verdict,
    at_most,
    audit_model,
    catalogue,
    check,
    find_checks,
)
from inspector.auditing.forward_pass import ForwardPass
from inspector.errors import UsageError
from inspector.model import Model
from tests.audit.pictures import pngs
from tests.audit.policies import policy


def test_a_project_adds_a_check_with_a_probe(model: Model, tmp_path: Path, registered: None) -> None:
    class Brightest(Probe):
        layers = True

        def __init__(self, subject: Subject) -> None:
            super().__init__(subject)
            self.found = -np.inf

        def look(self, forward: ForwardPass) -> None:
            self.found = max(self.found, float(forward.layers["first"].high.max()))

    @check(
        "not-too-bright", family="project", title="No activation is too bright",
        limits={"max": Limit(1e-9, "largest value")}, probes=(Brightest,),
    )  # fmt: skip
    def not_too_bright(subject: Subject, limits: Any, probe: Brightest) -> Verdict:
        """The largest value of the first layer."""
        return at_most(probe.found, limits["max"], f"the brightest is {probe.found:.1f}")

    found = audit_model(model, policy("opset", "not-too-bright"), data=pngs(tmp_path, 3))
    assert found.checks[-1].id == "not-too-bright"
    assert found.check("not-too-bright").status == "fail"
    assert found.check("not-too-bright").value > 0


def test_checks_of_installed_packages(monkeypatch: pytest.MonkeyPatch, registered: None) -> None:
    class Point:
        name, value = "mine", "mypackage.checks"

        def __init__(self, error: Exception | None = None) -> None:
            self.error = error

        def load(self) -> None:
            if self.error:
                raise self.error

            @check("theirs", family="file", title="Theirs")
            def theirs(subject: Subject, limits: Any) -> Verdict:
                """Fine."""
                return Verdict("fine")

    monkeypatch.setattr(catalogue, "_loaded", catalogue._loaded - {catalogue.GROUP})
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [Point()] if group == "inspector.checks" else [])
    assert "theirs" in find_checks()
    monkeypatch.setattr(catalogue, "_loaded", catalogue._loaded - {catalogue.GROUP})
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [Point(RuntimeError("no"))])
    with pytest.raises(UsageError, match=r"the checks 'mine' .mypackage.checks. cannot be loaded: RuntimeError: no"):
        find_checks()


def test_ids_are_checked(registered: None) -> None:
    with pytest.raises(UsageError, match="not lower case words with dashes"):
        check("Not This", family="file", title="t")(lambda s, m: Verdict("m"))
    with pytest.raises(UsageError, match="two checks are called 'opset'"):
        check("opset", family="file", title="t")(lambda s, m: Verdict("m"))
