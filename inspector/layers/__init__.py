"""The layers of a graph: the tensors a person would look at, under names a person would use.

Our own exports carry the list in their metadata. For every other file it is found here: which nodes matter, which
belong together (a convolution with its norm, x * sigmoid(x)), what they are called, and which axis holds the channels.
"""

from inspector.layers.arrangement import Arrangement, move_channels_back, move_channels_first
from inspector.layers.find import find_layers
from inspector.layers.layer import Layer, LayerNames, Layers, find_block, find_layer
from inspector.layers.layout import (
    find_channel_axis,
    find_first_nodes,
    find_picture_axis,
    infer_shapes,
    layout_of,
)
from inspector.layers.tokens import TokenGrid, find_token_grid

__all__ = [
    "Arrangement",
    "Layer",
    "LayerNames",
    "Layers",
    "TokenGrid",
    "find_block",
    "find_channel_axis",
    "find_first_nodes",
    "find_layer",
    "find_layers",
    "find_picture_axis",
    "find_token_grid",
    "infer_shapes",
    "layout_of",
    "move_channels_back",
    "move_channels_first",
]
