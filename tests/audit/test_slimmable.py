"""The audit says what `inspector slim` would save."""

from __future__ import annotations

import pytest

from inspector.auditing import audit_model
from tests.audit.policies import policy
from tests.conftest import MakeModel
from tests.foreign import Net


@pytest.mark.parametrize(("zeros", "status"), [(3, "warn"), (0, "pass")])
def test_channels_that_can_go(make_model: MakeModel, zeros: int, status: str) -> None:
    def build(net: Net, x: str) -> str:
        weight = net.rng.standard_normal((8, 3, 3, 3))
        weight[:zeros] = 0
        x = net("Relu", net("Conv", x, net.const(weight), pads=[1] * 4))
        return net("Flatten", net("GlobalAveragePool", net.conv(x, 8, 4, 3)))

    [found] = audit_model(make_model(build, shape=("N", 3, 12, 12)), policy("slimmable")).checks
    assert found.id == "slimmable"
    assert found.status == status
    assert found.message.startswith(f"{zeros} channels can be cut with `inspector slim`")
