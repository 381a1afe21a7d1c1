"""Smaller files with the same answers: channels cut that provably do nothing, and a certificate of it. No torch."""

from exporters.slimming.certificate import document_channels, document_difference
from exporters.slimming.check import CheckedCertificate, check_certificate
from exporters.slimming.measure import Difference
from exporters.slimming.result import LayerChannels, SlimError, SlimmedModel
from exporters.slimming.slim import slim_model

__all__ = [
    "CheckedCertificate",
    "Difference",
    "LayerChannels",
    "SlimError",
    "SlimmedModel",
    "check_certificate",
    "document_channels",
    "document_difference",
    "slim_model",
]
