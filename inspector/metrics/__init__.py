"""How right networks are: plain arithmetic over arrays, without a model or a file."""

from inspector.metrics.boxes import BoxAgreement, TrueBoxes, compute_overlaps, make_true_boxes, match_boxes
from inspector.metrics.calibration import CalibrationSums, measure_calibration_error
from inspector.metrics.outlines import Outline, Silhouette, compute_mask_overlaps
from inspector.metrics.pixels import PixelCounts, sample_classes, share_of_same
from inspector.metrics.precision import AREAS, THRESHOLDS, AveragePrecision, PrecisionSummary

__all__ = [
    "AREAS",
    "THRESHOLDS",
    "AveragePrecision",
    "BoxAgreement",
    "CalibrationSums",
    "Outline",
    "PixelCounts",
    "PrecisionSummary",
    "Silhouette",
    "TrueBoxes",
    "compute_mask_overlaps",
    "compute_overlaps",
    "make_true_boxes",
    "match_boxes",
    "measure_calibration_error",
    "sample_classes",
    "share_of_same",
]
