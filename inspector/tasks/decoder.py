"""From the outputs of a head to what they mean: the base of every file of `decoders/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from inspector.errors import NotComputable
from inspector.image import Preprocess
from inspector.records import record
from inspector.tasks.answers import Detection, Task
from inspector.tasks.candidates import MOST, Candidates
from inspector.tasks.layout import HeadLayout
from inspector.tasks.seen import Seen
from inspector.tasks.suppress import suppress

CONFIDENCE = 0.25
"""Score below which an object is not told, unless something else is asked for."""
Arrays = Mapping[str, NDArray[Any]]


@record
class Habit:
    """How a family takes its pictures where the file does not say it.

    Attributes:
        preprocess: How a picture becomes the input; `size` holds where the graph leaves it open.
        why: Whose habit it is, as a phrase.
    """

    preprocess: Preprocess
    why: str


LETTERBOX = Preprocess(size=(640, 640), resize="pad")
"""RGB in [0, 1], the whole picture in a frame of grey: as YOLO has it."""


@record(eq=False)
class Decoder(ABC):
    """What turns the outputs of a head into answers.

    A subclass stands in a file of `decoders/`, whose name is the `head` that people give.

    Attributes:
        outputs: The tensors that have to be run.
        task: What they mean.
        classes: Number of classes K; None where it is not known.
        why: By what the head was recognised, as a phrase.
    """

    outputs: tuple[str, ...]
    task: Task
    classes: int | None
    why: str

    family: ClassVar[str]
    """Whose head it is, for people."""
    looks: ClassVar[str]
    """Names and shapes of the outputs, for people."""
    order: ClassVar[int] = 50
    """Heads with a smaller number are tried first: those that are told apart by more than a shape."""
    over_classifier: ClassVar[bool] = False
    """Whether its outputs can be told from scores of classes by their names."""

    @property
    def head(self) -> str:
        """What it is called in commands and files: the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, where all networks with this head have the same."""
        return ()

    @property
    def habit(self) -> Habit | None:
        """How pictures are taken where the file does not say it; None where nothing is usual."""
        return None

    @classmethod
    @abstractmethod
    def match(cls, seen: Seen) -> Self | None:
        """The decoder for these outputs; None where they are of another head."""

    @contextmanager
    def guard(self, values: Arrays) -> Iterator[None]:
        """Make one error of whatever goes wrong in the block because a run gave other shapes than the file declares."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                yield
        except (ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(f"{name} {values[name].shape}" for name in self.outputs)
            raise NotComputable(
                f"the outputs are not those of {self.head}: {shapes} ({error})",
                "say what they are with `inspector annotate --task ... --head ...`",
            ) from None

    def fit(self, values: Arrays, name: str, axes: int) -> NDArray[np.float32]:
        """The values of one output as float32, without the batch axis.

        Raises:
            NotComputable: It has another number of axes than `axes`, the batch axis included.
        """
        value = values[name]
        if value.ndim != axes:
            raise NotComputable(
                f"output {name!r} has the shape {value.shape}, and {self.head} needs {axes} axes",
                "say what the outputs are with `inspector annotate --task ... --head ...`",
            )
        return np.asarray(value[0], np.float32)


@record(eq=False)
class BoxDecoder(Decoder):
    """A head that finds objects."""

    confidence: ClassVar[float] = CONFIDENCE
    """Smallest score that is told where nothing else is asked for."""
    iou: ClassVar[float | None] = 0.7
    """Overlap above which two boxes show one object; None where the graph suppresses boxes itself."""
    frees_size: ClassVar[bool] = False
    """Whether the size that the graph declares is a leftover of the export, and any other works."""

    @property
    def habit(self) -> Habit | None:
        """A letterbox of RGB in [0, 1]."""
        return Habit(LETTERBOX, "as detectors take it: RGB / 255 in a frame of grey")

    @property
    def layout(self) -> HeadLayout | None:
        """How the outputs lie, for a page that decodes them itself; None where that takes more than reading them."""
        return None

    @abstractmethod
    def decode(self, values: Arrays, size: tuple[int, int]) -> Candidates:
        """The objects before suppression.

        Args:
            values: Output name -> what a run gave.
            size: (H, W) of the network's input.

        Returns:
            The objects, in pixels of the network's input.

        Raises:
            NotComputable: The outputs are not those of the head.
        """

    def find(
        self,
        values: Arrays,
        size: tuple[int, int],
        confidence: float = CONFIDENCE,
        iou: float | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Candidates:
        """The objects that stay: sound ones, above the confidence, without those that overlap a better one.

        Args:
            values: Output name -> what a run gave.
            size: (H, W) of the network's input.
            confidence: Smallest score, in [0, 1].
            iou: Overlap above which two boxes of a class show one object; None takes the head's own.
            warn: Gets a line where scores or boxes are no numbers.

        Returns:
            At most 300 objects, highest score first, in pixels of the network's input.
        """
        with self.guard(values):
            found = self.decode(values, size)
        sound = found.sound()
        if warn is not None and not sound.all():
            warn(f"{int((~sound).sum())} of {len(found)} objects have a score or a box that is not finite: left out")
        found = found.pick(sound & (found.scores >= confidence))
        limit = self.iou if iou is None else iou
        if limit is None:
            return found.pick(np.argsort(-found.scores, kind="stable")[:MOST])
        return found.pick(suppress(found.boxes, found.scores, found.classes, limit, found.rotated, MOST))

    def detections(self, values: Arrays, size: tuple[int, int], confidence: float = CONFIDENCE) -> list[Detection]:
        """The same as :meth:`find` with the head's own overlap, one by one and without masks."""
        return self.find(values, size, confidence).detections()


@record(eq=False)
class MapDecoder(Decoder):
    """A head that gives a class for every place: a semantic segmenter.

    Attributes:
        activation: What makes probabilities of the maps: over the classes (softmax), of one foreground (sigmoid), or
            nothing where they are probabilities (none) or classes (indices) already.
        channels_last: The classes are the last axis.
        foreground: There is one map, of class 1; what is not on it is class 0.
    """

    activation: Literal["softmax", "sigmoid", "none", "indices"] = "softmax"
    channels_last: bool = False
    foreground: bool = False

    @abstractmethod
    def maps(self, values: Arrays) -> NDArray[np.float32]:
        """float32 (K, h, w) of logits or probabilities, or (1, h, w) of one foreground or of class indices."""


@record(eq=False)
class VectorDecoder(Decoder):
    """A head that gives a vector, near for pictures that are alike."""

    @abstractmethod
    def vector(self, values: Arrays) -> NDArray[np.float32]:
        """float32 (D,)."""


@record(eq=False)
class PictureDecoder(Decoder):
    """A head that gives a picture."""

    @abstractmethod
    def planes(self, values: Arrays) -> NDArray[np.float32]:
        """float32 (1 or 3, h, w), as the network gives it."""
