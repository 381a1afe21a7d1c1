"""A network that takes no pictures is no finding about pictures: it is the wrong file."""

from __future__ import annotations

import pytest

import inspector
from inspector.cli.app import run
from inspector.errors import UsageError
from tests.conftest import MakeModel
from tests.foreign import INT64, Net


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        (("N", 128), INT64, "holds int64, not pixels"),
        (("N", 16), 1, "of shape (N, 16) is not a picture"),
        ((1, 7, 8, 8), 1, "has 7 channels, not 1 or 3"),
    ],
)
def test_the_audit_of_another_network_is_bad_input(
    shape: tuple[int | str, ...], dtype: int, said: str, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(n: Net, x: str) -> str:
        return n("Relu", n("Cast", x, to=1))

    assert run(["audit", str(make_model(build, shape=shape, dtype=dtype))]) == 2
    assert said in capsys.readouterr().err


def test_a_report_whose_path_is_none(make_model: MakeModel) -> None:
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4)))
    with pytest.raises(UsageError) as caught:
        inspector.audit(path, junit="a\0b.xml")
    assert str(caught.value) == "'a\\x00b.xml' is not a path: embedded null byte; give the name of a file or a folder"
