"""Where torch networks come from: torchvision, timm, a factory of one's own, with weights of a file. Needs torch."""

from exporters.sources.load import load_source
from exporters.sources.network import Source, SourceError, make_source
from exporters.sources.weights import WeightsError

__all__ = ["Source", "SourceError", "WeightsError", "load_source", "make_source"]
