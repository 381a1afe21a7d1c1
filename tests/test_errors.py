from __future__ import annotations

import pytest

from inspector import errors
from inspector.errors import InspectorError, ModelError, listing, nearest, one_line


def test_message_and_hint_make_one_line() -> None:
    error = ModelError("cannot\nread\tthis \x1b[31m", "do\nthat")
    assert str(error) == "cannot read this [31m; do that"
    assert (error.kind, error.hint) == ("model", "do that")
    assert str(ModelError("alone")) == "alone"


def test_every_error_has_a_kind_of_its_own() -> None:
    # Other packages have children of their own, and other tests may have loaded them.
    children = [c for c in InspectorError.__subclasses__() if c.__module__ == errors.__name__]
    kinds = [child.kind for child in children]
    assert len(set(kinds)) == len(children) >= 9
    assert all(child.__doc__ and getattr(errors, child.__name__) is child for child in children)


def test_one_line_is_cut() -> None:
    assert len(one_line("x" * 10_000)) == 600
    assert one_line("a\u2028b\u0000c\r\nd") == "a b c d"


def test_nearest_gives_as_many_as_there_are() -> None:
    names = ["features.0.conv", "features.1.conv", "classifier"]
    assert nearest("clasifier", names)[0] == "classifier"
    assert nearest("FEATURES.1.Conv", names)[0] == "features.1.conv"
    assert len(nearest("", names)) == 3
    assert nearest("x", ["a", "a"]) == ["a"]
    assert nearest("x", []) == []


@pytest.mark.parametrize(("count", "text"), [(0, ""), (2, "n0, n1"), (3, "n0, n1, n2"), (5, "n0, n1, n2 and 2 more")])
def test_listing(count: int, text: str) -> None:
    assert listing([f"n{i}" for i in range(count)]) == text
