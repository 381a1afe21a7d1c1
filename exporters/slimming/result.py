"""What slimming gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporters.slimming.measure import Difference
from exporters.slimming.unseen import UnseenChannels
from inspector.errors import InspectorError


class SlimError(InspectorError):
    """A smaller file would not have the same answers, or does not have those that its certificate says."""

    kind = "slim"


@dataclass(frozen=True)
class LayerChannels:
    """Channels of a layer that were cut, or that look dead and stay, for one reason.

    Attributes:
        layer: The name of the layer; of its tensor where it is none.
        channels: Their numbers in the source.
        why: The reason, as a clause.
        bounds: What proves it, one text for each channel; empty where the reason says all.
    """

    layer: str
    channels: tuple[int, ...]
    why: str
    bounds: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlimmedModel:
    """A file that was written, and what was cut from it.

    Attributes:
        path: The file.
        sha256: Its digest.
        bytes_before: Size of the source, with external data.
        bytes_after: Size of this file.
        parameters_before: Numbers in the constants of the source.
        parameters_after: The same of this file.
        nodes_before: Nodes of the source; its Constant nodes are not counted.
        nodes_after: Nodes of this file.
        cut: What was cut of convolutions and matrix products.
        kept: What looks dead and stays, with the reason.
        differences: How far each output is apart, at most.
        pictures: How many given pictures were compared.
        unseen: ChannelFacts that never changed on the given pictures, though nothing proves that.
        unseen_cut: Whether they were cut too.
        unseen_more: How many more channels go, or would go, with them.
        unseen_effect: How far each output is then apart on made-up pictures.
        proven_total: How many channels go by proof.
        smallest: Whether channels were cut also where that may make the network slower.
        certificate: The certificate that was written; None for none.
    """

    path: Path
    sha256: str
    bytes_before: int
    bytes_after: int
    parameters_before: int
    parameters_after: int
    nodes_before: int
    nodes_after: int
    cut: tuple[LayerChannels, ...]
    kept: tuple[LayerChannels, ...]
    differences: tuple[Difference, ...]
    pictures: int = 0
    unseen: tuple[UnseenChannels, ...] = ()
    unseen_cut: bool = False
    unseen_more: int = 0
    unseen_effect: tuple[Difference, ...] = ()
    proven_total: int = 0
    smallest: bool = False
    certificate: Path | None = None

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of any output."""
        return max((each.max_abs for each in self.differences), default=0.0)

    @property
    def total(self) -> int:
        """How many channels of convolutions and matrix products were cut."""
        return sum(len(each.channels) for each in self.cut)
