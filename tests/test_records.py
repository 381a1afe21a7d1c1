"""Quick frozen data classes against those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from inspector.records import record


@record
class Quick:
    a: int
    b: list[int] = dataclasses.field(default_factory=list, hash=False)
    c: float = dataclasses.field(default=1.5, compare=False)
    d: str = dataclasses.field(default="x", repr=False)


@dataclasses.dataclass(frozen=True)
class Plain:
    a: int
    b: list[int] = dataclasses.field(default_factory=list, hash=False)
    c: float = dataclasses.field(default=1.5, compare=False)
    d: str = dataclasses.field(default="x", repr=False)


@record(eq=False)
class Same:
    values: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", True)


@record
class More(Quick):
    e: int = 7


@dataclasses.dataclass(frozen=True)
class Foreign(Quick):
    e: int = 7


def test_it_is_a_frozen_data_class() -> None:
    for made in (Quick, Plain):
        one = made(1, [2])
        assert one == made(1, [2], c=3) != made(1, [2], d="y")
        assert hash(one) == hash(made(1, [3])) != hash(made(2, [2]))
        assert repr(one).endswith("(a=1, b=[2], c=1.5)")
        assert dataclasses.asdict(dataclasses.replace(one, a=5)) == {"a": 5, "b": [2], "c": 1.5, "d": "x"}
        assert [x.name for x in dataclasses.fields(made)] == list(made.__match_args__)
        assert one.__eq__(3) is NotImplemented
        for change, *given in ((setattr, "a", 2), (setattr, "new", 2), (delattr, "a")):
            with pytest.raises(dataclasses.FrozenInstanceError, match=r"cannot (assign to|delete) field '(a|new)'"):
                change(one, *given)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
            made()
        assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert Quick(1) != Plain(1)


def test_objects_may_be_equal_to_themselves_alone() -> None:
    one = Same(np.zeros(3))
    assert one == one
    assert one != Same(one.values)
    assert {one: 1}[one] == 1
    assert vars(one)["seen"]


@pytest.mark.parametrize("made", [More, Foreign])
def test_what_inherits_is_frozen_too(made: Any) -> None:
    one = made(1)
    assert (one.e, one == made(1), one == Quick(1)) == (7, True, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.e = 8
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):
        dataclasses.dataclass(type("Loose", (Quick,), {}))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the standard library is quick there")
def test_what_every_command_imports_is_made_of_them() -> None:
    code = (
        "import dataclasses, sys\n"
        "whole, slow = dataclasses._process_class, []\n"
        "def watch(cls, init, repr, eq, order, unsafe_hash, frozen, *more):\n"
        "    slow.append(cls.__qualname__) if frozen and cls.__module__.startswith('inspector') else None\n"
        "    return whole(cls, init, repr, eq, order, unsafe_hash, frozen, *more)\n"
        "dataclasses._process_class = watch\n"
        "import inspector.api.model, inspector.api.draw, inspector.pages.gallery, inspector.pages.overlays\n"
        "print(*slow)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Those that inherit, or take their values by name alone.
    assert set(done.stdout.split()) <= {
        "Model", "BoxDecoder", "MapDecoder", "PictureDecoder", "VectorDecoder", "HeadLayout",
    }  # fmt: skip
