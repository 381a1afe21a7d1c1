"""The checks, one file each, in the order of the reports. Importing this fills the table."""

from importlib import import_module

_FILES = {
    "file": (
        "opens", "opset", "operators", "domains", "external_data", "training_mode", "size", "metadata_present",
        "metadata_consistent", "private_paths", "weights_finite", "weights_unused", "weights_duplicate",
        "zero_filters",
    ),
    "numerics": ("pictures_readable", "finite_on_images", "finite_on_plain", "repeats", "optimised", "batches", "twin"),
    "representation": (
        "dead_channels", "blank_layers", "zero_fraction", "saturated", "duplicate_channels",
    ),
    "behaviour": (
        "accuracy", "balanced_accuracy", "class_recall", "calibration", "confusion", "flip", "jpeg", "brightness",
        "blur", "noise", "shift",
    ),
    "explanation": ("deletion", "insertion", "energy_inside", "pointing_game", "energy_avoided"),
    "drift": ("preprocess", "labels", "layers", "channels", "statistics", "agreement", "metrics"),
    "cost": ("latency", "memory", "multiply_adds", "parameters"),
}  # fmt: skip

for _family, _names in _FILES.items():
    for _name in _names:
        import_module(f"{__name__}.{_family}.{_name}")
