"""How channels pass through operators: a rule for each kind of row in the table, and for some operators their own."""

from inspector.slimming.rules import elements, integers, moving, norms, pooling, quantized, weighing
from inspector.slimming.rules.families import find_family_rule

__all__ = ["elements", "find_family_rule", "integers", "moving", "norms", "pooling", "quantized", "weighing"]
