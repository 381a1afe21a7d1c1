"""Every choice of a fine-tuning run: its default, its limits and its line of help, each in this one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from inspector.errors import UsageError, nearest

AUGMENTATIONS = ("hflip", "vflip", "rotate", "crop", "colour")
SCHEDULES = ("onecycle", "cosine")
BALANCES = ("weights", "sampling", "none")
METRICS = ("balanced_accuracy", "accuracy", "loss")
PRECISIONS = ("auto", "float32", "bfloat16")
CACHE_TYPES = ("float16", "float32")
NORMS = ("kept", "batch")
FEWEST = 4
"""Pictures that a batch must have to be normalised by its own statistics."""

CACHE_LIMIT = 20.0
"""Gigabytes that the stored activations of all runs may take together."""

MOST = 100_000
"""Epochs that may be asked for."""


@dataclass(frozen=True)
class OptionField:
    """What is known of one field of :class:`FineTuneOptions` beside its default.

    Attributes:
        help: A sentence for the command line; empty for a field that the command line does not offer.
        group: The heading that the option is listed under.
        metavar: What stands for its value in the help; by default the known names.
        limits: The lowest and the highest number, both allowed; None for a field that is no number.
        known: The names that it can have; empty for a field that is no name.
    """

    help: str
    group: str = ""
    metavar: str = ""
    limits: tuple[float, float] | None = None
    known: tuple[str, ...] = ()


def _choice(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"choice": OptionField(text, **more)})


@dataclass(frozen=True)
class FineTuneOptions:
    """The choices that make a run; two runs with equal options, data and base give equal models.

    Every field's `OptionField` says what it is (see :func:`list_option_fields`); here stands what a line of help has no
    room for.

    Attributes:
        unfreeze_last: 3 where neither this nor `unfreeze_from` is given, as the lecture advises.
        joint_rate: A norm that is folded into a convolution leaves tensors fifty times larger than others beside
            them, so that a rate goes by the size of each tensor (https://arxiv.org/abs/1804.04235, section 8). The
            size is that at the start of the run; of the head, at its random start.
        weight_decay: https://arxiv.org/abs/1711.05101; not on biases.
        label_smoothing: https://arxiv.org/abs/1512.00567.
        mixup: https://arxiv.org/abs/1710.09412, of activations at the boundary.
        average: The average is what is evaluated and kept.
        schedule: https://arxiv.org/abs/1708.07120 and https://arxiv.org/abs/1608.03983.
        patience: Half of the phase's epochs where it is not given, but at least five.
        augment: See :mod:`exporters.planning.augment`.
        augment_seed: The same for every `seed`, so that runs share what is stored.
        poses: See :mod:`inspector.image.poses`; as `inspector predict --poses` does it.
        size: (H, W) in pixels.
        norms: See :mod:`exporters.finetuning.norms`.
        devices: By Lightning Fabric.
    """

    unfreeze_from: str | None = _choice(
        None,
        "First layer or block that the joint training changes.",
        group="Base and unfreezing",
        metavar="LAYER",
    )
    unfreeze_last: int | None = _choice(
        None,
        "Train the last N layers with weights jointly; 3 unless this or --unfreeze-from is given.",
        group="Base and unfreezing",
        metavar="N",
        limits=(1, 10_000),
    )
    head_epochs: int = _choice(
        30, "Most epochs of the training of the head.", group="Training of the head", metavar="N", limits=(1, MOST)
    )
    joint_epochs: int = _choice(
        15, "Most epochs of the joint training; 0 for none.", group="Joint training", metavar="N", limits=(0, MOST)
    )
    head_rate: float = _choice(
        3e-3,
        "Peak learning rate of the training of the head.",
        group="Training of the head",
        metavar="RATE",
        limits=(1e-8, 10),
    )
    joint_rate: float = _choice(
        5e-3,
        "Peak learning rate of the joint training, relative to the size of each weight tensor.",
        group="Joint training",
        metavar="RATE",
        limits=(1e-8, 10),
    )
    lowest_rate: float = _choice(
        0.3,
        "Share of --joint-rate for the first unfrozen layer; it grows layer by layer up to the head.",
        group="Joint training",
        metavar="SHARE",
        limits=(1e-6, 1),
    )
    batch: int = _choice(32, "Pictures in a step.", group="Both trainings", metavar="N", limits=(1, 65_536))
    weight_decay: float = _choice(
        0.01, "Weight decay of AdamW, on weights.", group="Regularisation", metavar="X", limits=(0, 10)
    )
    label_smoothing: float = _choice(
        0.1,
        "Share of the target that label smoothing spreads over all classes; below 1.",
        group="Regularisation",
        metavar="X",
        limits=(0, 0.99),
    )
    dropout: float = _choice(
        0.2, "Dropout of the features before the head.", group="Regularisation", metavar="X", limits=(0, 0.99)
    )
    mixup: float = _choice(
        0.0,
        "Mix pairs of pictures where the frozen part ends; ALPHA of the Beta distribution, 0 for none.",
        group="Regularisation",
        metavar="ALPHA",
        limits=(0, 10),
    )
    average: float = _choice(
        0.0,
        "Decay of a running average of the weights in the joint training; 0 for none.",
        group="Regularisation",
        metavar="DECAY",
        limits=(0, 0.99999),
    )
    schedule: str = _choice(
        "onecycle", "Schedule of the learning rate; it begins anew in each training.",
        group="Both trainings", known=SCHEDULES,
    )  # fmt: skip
    balance: str = _choice(
        "weights",
        "What is done for rare classes: weights in the loss, sampling of pictures, or none.",
        group="Both trainings",
        known=BALANCES,
    )
    select: str = _choice(
        "balanced_accuracy",
        "What the best epoch is chosen by on the validation pictures: balanced_accuracy, accuracy or loss.",
        group="Both trainings",
        metavar="METRIC",
        known=METRICS,
    )
    patience: int | None = _choice(
        None,
        "Epochs without a new best that end a training; default: half of its epochs, at least 5.",
        group="Both trainings",
        metavar="N",
        limits=(1, MOST),
    )
    augment: tuple[str, ...] = _choice(
        ("hflip", "crop", "colour"),
        f"How versions of a training picture are made: {', '.join(AUGMENTATIONS)}, or none.",
        group="Data",
        metavar="KIND,...",
    )
    versions: int = _choice(
        4, "Versions stored of each training picture, the plain one included.",
        group="Data", metavar="N", limits=(1, 64),
    )  # fmt: skip
    augment_seed: int = _choice(0, "", limits=(0, 2**31 - 1))
    poses: tuple[str, ...] = _choice(
        (),
        "Average the scores of a test picture over hflip, vflip, rotate, or none.",
        group="Data",
        metavar="KIND,...",
    )
    val: float = _choice(
        0.2,
        "Share of the pictures held out for validation where DATA has no such split.",
        group="Data",
        metavar="SHARE",
        limits=(0.01, 0.9),
    )
    test: float = _choice(
        0.0,
        "Share of the pictures held out for testing where DATA has no such split.",
        group="Data",
        metavar="SHARE",
        limits=(0, 0.9),
    )
    size: tuple[int, int] | None = _choice(
        None,
        "Height and width of the input, instead of the base's.",
        group="Data",
        metavar="PX",
    )
    seed: int = _choice(
        0,
        "Seed of the splits, the new head and the order of pictures.",
        group="Both trainings",
        metavar="N",
        limits=(0, 2**31 - 1),
    )
    cache_dtype: str = _choice(
        "float16", "Type of the stored activations where the frozen part ends.", group="Cache", known=CACHE_TYPES
    )
    precision: str = _choice(
        "auto", "Type to train with; auto takes bfloat16 on a GPU.", group="Machine", known=PRECISIONS
    )
    norms: str = _choice(
        "kept",
        "batch puts batch norms behind unfrozen convolutions while they train, and folds them in the end.",
        group="Joint training",
        known=NORMS,
    )
    devices: int = _choice(
        1,
        "Processes or GPUs that share a batch; more than 1 needs the extra fabric.",
        group="Machine",
        metavar="N",
        limits=(1, 64),
    )

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            UsageError: A field is out of its limits, or two fields do not go together.
        """
        if self.unfreeze_from is not None and self.unfreeze_last is not None:
            raise UsageError("both --unfreeze-from and --unfreeze-last were given", "give one of them")
        for name, choice in list_option_fields().items():
            _check_value(name, getattr(self, name), choice)
        if unknown := [kind for kind in self.augment if kind not in AUGMENTATIONS]:
            raise UsageError(f"there is no augmentation {unknown[0]!r}", f"known: {', '.join(AUGMENTATIONS)}, none")
        from inspector.image.poses import check_poses  # brings numpy, which the help does without

        check_poses(self.poses)
        if self.size is not None and min(self.size) < 8:
            raise UsageError(f"a size of {self.size[1]}x{self.size[0]} is too small", "give 8 pixels or more")
        if self.norms == "batch":
            self._check_norms()
        if self.val + self.test >= 0.95:
            raise UsageError(f"val {self.val:g} and test {self.test:g} leave nothing to train on")

    def _check_norms(self) -> None:
        if self.devices > 1:
            raise UsageError(
                f"norms batch goes by whole batches, and {self.devices} devices share one", "give devices 1"
            )
        if self.batch < FEWEST:
            raise UsageError(f"norms batch needs batches of {FEWEST} pictures or more, not {self.batch}")
        if self.joint_epochs == 0:
            raise UsageError("norms batch is for the joint phase, and joint_epochs is 0", "leave norms kept")

    def to_json(self) -> dict[str, Any]:
        """Return every option by name; `from_json` reads it back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> FineTuneOptions:
        """Make options from `to_json`'s form, or from keyword arguments.

        Raises:
            UsageError: A name is unknown, or a value is wrong.
        """
        known = list(list_option_fields())
        if unknown := [name for name in document if name not in known]:
            raise UsageError(f"there is no option {unknown[0]!r}; nearest: {', '.join(nearest(unknown[0], known))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        return FineTuneOptions(**values)


def list_option_fields() -> dict[str, OptionField]:
    """Return what is known of each field of :class:`FineTuneOptions`, by name, in their order."""
    return {f.name: f.metadata["choice"] for f in fields(FineTuneOptions)}


def _check_value(name: str, value: Any, choice: OptionField) -> None:
    if choice.limits is not None and value is not None:
        low, high = choice.limits
        if not low <= value <= high:
            raise UsageError(f"{name} {value:g} is out of range", f"give {low:g} to {high:g}")
    if choice.known and value not in choice.known:
        raise UsageError(f"there is no {name} {value!r}", f"known: {', '.join(choice.known)}")
