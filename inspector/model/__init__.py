"""An opened model: its layers, its preprocess, its classes, and the runs of onnxruntime behind its answers."""

from inspector.model.alternatives import Alternative, find_alternatives
from inspector.model.classes import find_folder_class
from inspector.model.describe import describe_model
from inspector.model.inputs import NO_INPUTS, make_picture_shape
from inspector.model.model import Model
from inspector.model.open import drop_false_classes, open_model
from inspector.model.probabilities import Prediction, Predictions, check_top, to_probabilities

__all__ = [
    "NO_INPUTS",
    "Alternative",
    "Model",
    "Prediction",
    "Predictions",
    "check_top",
    "describe_model",
    "drop_false_classes",
    "find_alternatives",
    "find_folder_class",
    "make_picture_shape",
    "open_model",
    "to_probabilities",
]
