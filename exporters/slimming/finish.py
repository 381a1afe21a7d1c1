"""What a slimmed file has beside its nodes: the metadata of its source, and which channels it still has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx

from exporters.slimming.unseen import UnseenChannels
from inspector.graph import restore_interface
from inspector.metadata import KEY, LayerEntry, Metadata
from inspector.model import Model
from inspector.model.inputs import list_given
from inspector.slimming import SlimPlan
from inspector.slimming.mapping import ENTRY, read_channel_map, write_channel_map, write_numbers
from inspector.version import __version__


def finish_slim(
    source: Model, plan: SlimPlan, proto: onnx.ModelProto, unseen: Sequence[UnseenChannels], named: bool
) -> onnx.ModelProto:
    """Give a slimmed graph the interface and the metadata of its source.

    Args:
        source: The model that it was made from.
        plan: What was cut.
        proto: The graph; it is changed.
        unseen: ChannelFacts that were cut without proof.
        named: Whether the names of its layers are written down where the source does not do so.
    """
    restore_interface(proto, source.graph)
    made = {name for node in proto.graph.node for name in node.output}
    layers = [layer for layer in source.layers if layer.tensor in made]
    channels = trace_channels(source, plan, made)
    before_us: Any = source.metadata.source.get(ENTRY, {})
    entry: dict[str, Any] = {
        "from": before_us.get("from", source.digest) if isinstance(before_us, dict) else source.digest,
        "channels": write_channel_map(channels),
    }
    changed = bool(channels) or bool(read_channel_map(source.metadata))
    if unseen:
        entry["without_proof"] = {each.layer: write_numbers(each.channels) for each in unseen}
    entries = tuple(LayerEntry(x.name, x.tensor, x.kind, x.aliases) for x in layers)
    document = source.metadata.with_(
        layers=entries if named or source.metadata.layers else (),
        inputs=list_given(source.graph),
    )
    if changed:
        document = document.with_(
            source={**document.source, ENTRY: entry},
            versions={**document.versions, "inspector": __version__, "onnx": onnx.__version__},
        )
    del proto.metadata_props[:]
    ours = {KEY: document.dumps()} if document != Metadata() else {}
    for key, value in {**source.graph.metadata, **ours}.items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def trace_channels(source: Model, plan: SlimPlan, made: Collection[str]) -> dict[str, str]:
    """The channels that layers still have, for :func:`inspector.slimming.mapping.write_channel_map`.

    Args:
        source: The model that is slimmed.
        plan: What is cut.
        made: The tensors that the slimmed graph still makes.
    """
    known = read_channel_map(source.metadata)
    channels: dict[str, str] = {}
    for layer in source.layers:
        keep = plan.keep_of(layer.tensor)
        if layer.tensor not in made:
            channels[layer.name] = ""
        elif keep is not None or layer.name in known:
            channels[layer.name] = write_numbers(_trace(plan, layer.tensor, known.get(layer.name)))
    return channels


def _trace(plan: SlimPlan, tensor: str, known: Sequence[int] | None) -> Any:
    """The numbers of a tensor's channels that stay: those of the first file, where the source was slimmed before."""
    keep = plan.keep_of(tensor)
    there = plan.found.channels.get(tensor)
    if known is None or (there is not None and len(there) != len(known)):
        return keep if keep is not None else ()
    return known if keep is None else np.asarray(known)[keep]
