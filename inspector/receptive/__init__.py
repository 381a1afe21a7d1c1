"""Which pixels a unit sees, and the patches of real pictures that excite it most. No torch."""

from inspector.receptive.blocks import block_layers
from inspector.receptive.channels import parse_channels
from inspector.receptive.fields import ReceptiveField, receptive_field, receptive_fields
from inspector.receptive.patches import Patch, TopPatches, draw_patches, find_patches

__all__ = [
    "Patch",
    "ReceptiveField",
    "TopPatches",
    "block_layers",
    "draw_patches",
    "find_patches",
    "parse_channels",
    "receptive_field",
    "receptive_fields",
]
