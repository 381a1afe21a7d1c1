"""What of a network provably does nothing: channels, and which of them can go. Analysis alone; no torch.

:func:`find_slim_plan` reads a graph, :func:`find_model_plan` that of a model. They say which channels can be cut, why,
and which look dead and must stay. :mod:`exporters.slimming` does the cutting.
"""

from inspector.slimming.channels import ChannelFacts, ChannelReader, CutConstant, CutNumber, Findings
from inspector.slimming.mapping import read_channel_map
from inspector.slimming.plan import CutChannels, SlimPlan, find_slim_plan
from inspector.slimming.planning import find_model_plan

__all__ = [
    "ChannelFacts",
    "ChannelReader",
    "CutChannels",
    "CutConstant",
    "CutNumber",
    "Findings",
    "SlimPlan",
    "find_model_plan",
    "find_slim_plan",
    "read_channel_map",
]
