"""Every choice of a fine-tuning run, with its default and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from inspector.errors import UsageError, nearest
from inspector.image.poses import check_poses

AUGMENTATIONS = ("hflip", "vflip", "rotate", "crop", "colour")
SCHEDULES = ("onecycle", "cosine")
BALANCES = ("weights", "sampling", "none")
METRICS = ("balanced_accuracy", "accuracy", "loss")
PRECISIONS = ("auto", "float32", "bfloat16")
CACHE_TYPES = ("float16", "float32")
NORMS = ("kept", "batch")
FEWEST = 4
"""Pictures that a batch must have to be normalised by its own statistics."""


@dataclass(frozen=True)
class FineTuneOptions:
    """The choices that make a run; two runs with equal options, data and base give equal models.

    unfreeze_from: layer from which on the joint phase trains. unfreeze_last: or the last N layers with weights before
        the head; 3 where neither is given, as the lecture advises.
    head_epochs, joint_epochs: of the two phases; 0 joint epochs end after the head. head_rate: peak of its schedule.
    joint_rate: peak of its schedule, relative to the size of each weight tensor (https://arxiv.org/abs/1804.04235,
        section 8): a norm that is folded into a convolution leaves tensors fifty times larger than others beside them.
        The size is that at the start of the run; of the head, at its random start.
    lowest_rate: share of `joint_rate` that the first unfrozen layer gets; the layers between get a geometric series.
    batch: pictures a step. weight_decay: of AdamW (https://arxiv.org/abs/1711.05101), on weights, not on biases.
    label_smoothing: in [0, 1) (https://arxiv.org/abs/1512.00567). dropout: of the features before the head.
    mixup: parameter of the Beta distribution (https://arxiv.org/abs/1710.09412), at the boundary; 0 for none.
    average: decay of an exponential average of the weights over the steps of the joint phase, which is then what is
        evaluated and kept; 0 for none.
    schedule: ``onecycle`` (https://arxiv.org/abs/1708.07120) or ``cosine`` (https://arxiv.org/abs/1608.03983).
    balance: ``weights`` of the classes in the loss, ``sampling`` of the pictures, or ``none``.
    select: what the best epoch is best in, on the validation pictures. patience: epochs without a new best after which
        a phase ends; half of its epochs, but at least five, unless given.
    augment: see :mod:`exporters.planning.augment`. versions: stored for each training picture, the plain one first.
    augment_seed: of the versions; the same for every `seed`, so that runs share what is stored.
    poses: flips and turns that the scores of test pictures are averaged over, as `inspector predict --poses` does; see
        :mod:`inspector.image.poses`.
    val, test: shares held out where the data names no such split. size: (H, W) of the input instead of the base's.
    cache_dtype: of the activations at the boundary. precision: of the training; ``auto`` takes bfloat16 on a GPU.
    norms: ``kept``: as the base has them, in inference mode. ``batch``: a batch norm behind each unfrozen convolution
        while the joint phase trains, folded into its weights in the end; see :mod:`exporters.finetuning.norms`.
    devices: processes or GPUs that share a batch, by Lightning Fabric.
    """

    unfreeze_from: str | None = None
    unfreeze_last: int | None = None
    head_epochs: int = 30
    joint_epochs: int = 15
    head_rate: float = 3e-3
    joint_rate: float = 5e-3
    lowest_rate: float = 0.3
    batch: int = 32
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    dropout: float = 0.2
    mixup: float = 0.0
    average: float = 0.0
    schedule: str = "onecycle"
    balance: str = "weights"
    select: str = "balanced_accuracy"
    patience: int | None = None
    augment: tuple[str, ...] = ("hflip", "crop", "colour")
    versions: int = 4
    augment_seed: int = 0
    poses: tuple[str, ...] = ()
    val: float = 0.2
    test: float = 0.0
    size: tuple[int, int] | None = None
    seed: int = 0
    cache_dtype: str = "float16"
    precision: str = "auto"
    norms: str = "kept"
    devices: int = 1

    def __post_init__(self) -> None:
        if self.unfreeze_from is not None and self.unfreeze_last is not None:
            raise UsageError("both --unfreeze-from and --unfreeze-last were given", "give one of them")
        for name, low, high in (
            ("unfreeze_last", 1, 10_000), ("head_epochs", 1, 100_000), ("joint_epochs", 0, 100_000),
            ("head_rate", 1e-8, 10), ("joint_rate", 1e-8, 10), ("lowest_rate", 1e-6, 1), ("batch", 1, 65_536),
            ("weight_decay", 0, 10), ("label_smoothing", 0, 0.99), ("dropout", 0, 0.99), ("mixup", 0, 10),
            ("average", 0, 0.99999), ("patience", 1, 100_000), ("versions", 1, 64), ("val", 0.01, 0.9),
            ("test", 0, 0.9), ("seed", 0, 2**31 - 1), ("augment_seed", 0, 2**31 - 1), ("devices", 1, 64),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} {value:g} is out of range", f"give {low:g} to {high:g}")
        for name, known in (
            ("schedule", SCHEDULES), ("balance", BALANCES), ("select", METRICS), ("precision", PRECISIONS),
            ("cache_dtype", CACHE_TYPES), ("norms", NORMS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise UsageError(f"there is no {name} {getattr(self, name)!r}", f"known: {', '.join(known)}")
        if unknown := [kind for kind in self.augment if kind not in AUGMENTATIONS]:
            raise UsageError(f"there is no augmentation {unknown[0]!r}", f"known: {', '.join(AUGMENTATIONS)}, none")
        check_poses(self.poses)
        if self.size is not None and min(self.size) < 8:
            raise UsageError(f"a size of {self.size[1]}x{self.size[0]} is too small", "give 8 pixels or more")
        if self.norms == "batch":
            if self.devices > 1:
                raise UsageError(
                    f"norms batch goes by whole batches, and {self.devices} devices share one", "give devices 1"
                )
            if self.batch < FEWEST:
                raise UsageError(f"norms batch needs batches of {FEWEST} pictures or more, not {self.batch}")
            if self.joint_epochs == 0:
                raise UsageError("norms batch is for the joint phase, and joint_epochs is 0", "leave norms kept")
        if self.val + self.test >= 0.95:
            raise UsageError(f"val {self.val:g} and test {self.test:g} leave nothing to train on")

    def to_json(self) -> dict[str, Any]:
        """Every option; `from_json` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> FineTuneOptions:
        """From `to_json`'s form, or from keyword arguments. Raises UsageError for an unknown name."""
        known = [f.name for f in fields(FineTuneOptions)]
        if unknown := [name for name in document if name not in known]:
            raise UsageError(f"there is no option {unknown[0]!r}; nearest: {', '.join(nearest(unknown[0], known))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return FineTuneOptions(**values)
