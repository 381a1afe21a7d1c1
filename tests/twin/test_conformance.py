"""Every operator of the table passes the onnx package's own cases for it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.conftest import require

torch = require("torch")

from inspector.twin import list_supported_operators  # noqa: E402
from tests.twin.compared import COMPARED  # noqa: E402
from tests.twin.conformance import Case, Outcome, disk_cases, node_cases, outcomes, summary, table  # noqa: E402

OPERATORS = Path(__file__).resolve().parents[2] / "docs" / "operators.md"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [*node_cases(), *disk_cases()]


@pytest.fixture(scope="module")
def own_types(cases: list[Case]) -> list[Outcome]:
    return outcomes(cases)


@pytest.fixture(scope="module")
def float32(cases: list[Case]) -> list[Outcome]:
    # The expanded cases have the same nodes in another order.
    return outcomes([case for case in cases if "_expanded" not in case.name], torch.float32)


@pytest.mark.parametrize("operator", list_supported_operators())
def test_cases_pass(operator: str, own_types: list[Outcome]) -> None:
    check(operator, own_types)


@pytest.mark.slow
@pytest.mark.parametrize("operator", list_supported_operators())
def test_cases_pass_in_float32(operator: str, float32: list[Outcome]) -> None:
    check(operator, float32)


def check(operator: str, results: list[Outcome]) -> None:
    mine = [o for o in results if operator in o.operators]
    wrong = {o.name: o.error for o in mine if o.error and not o.reason}
    assert not wrong
    assert any(not o.error for o in mine) or operator in COMPARED, "no case passes, and nothing else compares it"


def test_impossible_cases_do_fail(own_types: list[Outcome]) -> None:
    assert [o.name for o in own_types if o.reason and not o.error] == []


@pytest.mark.slow
def test_impossible_cases_do_fail_in_float32(float32: list[Outcome]) -> None:
    assert [o.name for o in float32 if o.reason and not o.error] == []


def test_enough_cases_ran(own_types: list[Outcome]) -> None:
    assert sum(not o.error for o in own_types) > 1500


def test_table_counts(own_types: list[Outcome]) -> None:
    assert "| HardSwish | 1 of 1 |" in table(own_types, across=1)


@pytest.mark.skipif(not onnx.__version__.startswith("1.23."), reason="the page counts the cases of onnx 1.23")
def test_the_page_of_operators_has_the_table(own_types: list[Outcome]) -> None:
    assert summary(own_types) in OPERATORS.read_text("utf-8")
