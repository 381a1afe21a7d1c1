"""Which pixels a unit sees, and the patches of real pictures that excite it most. No torch."""

from inspector.receptive.blocks import find_block_layers
from inspector.receptive.channels import parse_channels
from inspector.receptive.fields import ReceptiveField, compute_receptive_field, compute_receptive_fields
from inspector.receptive.patches import Patch, TopPatches, draw_patches, find_patches

__all__ = [
    "Patch",
    "ReceptiveField",
    "TopPatches",
    "compute_receptive_field",
    "compute_receptive_fields",
    "draw_patches",
    "find_block_layers",
    "find_patches",
    "parse_channels",
]
