"""Outputs attached to a network: maps, honest probabilities, "I do not know". Standard operators only. No torch."""

from exporters.attaching.attach import attach_outputs, check_attached_options
from exporters.attaching.result import AttachedModel
from exporters.attaching.workbench import AttachedOutput, AttachError

__all__ = ["AttachError", "AttachedModel", "AttachedOutput", "attach_outputs", "check_attached_options"]
