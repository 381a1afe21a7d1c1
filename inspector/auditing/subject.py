"""What is audited: the model, the pictures, the policy, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.limits import Limits
from inspector.auditing.needs import Need
from inspector.auditing.pictures import EntryReader, PictureSet
from inspector.auditing.policy import Policy
from inspector.auditing.result import NotChecked
from inspector.errors import ImageError, MissingExtra
from inspector.extras import need
from inspector.graph import Graph
from inspector.image import open_image
from inspector.model import Model
from inspector.runtime import count_cores

if TYPE_CHECKING:
    from inspector.auditing.snapshot import Snapshot

_TASKS = {
    "detect": "detects objects", "pose": "finds keypoints", "segment": "gives a class to every pixel",
    "embed": "makes a vector", "picture": "makes a picture",
}  # fmt: skip
"""What a model does by its task, as a clause."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Subject:
    """Everything a check may ask about.

    Attributes:
        model: What is audited.
        policy: What is demanded.
        pictures: The pictures; none where none were given.
        reference: Another model, for drift and cost.
        snapshot: A saved one, for drift.
        seed: Of everything random.
        digests: Whether the pictures' digests are wanted.
        unreadable: Pictures that could not be opened, and why; filled while the pictures are walked past.
        reader: Reads the pictures, from archives too.
    """

    model: Model
    policy: Policy
    pictures: PictureSet = field(default_factory=PictureSet)
    reference: Model | None = None
    snapshot: Snapshot | None = None
    seed: int = 0
    digests: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)
    reader: EntryReader = field(default_factory=EntryReader)

    @property
    def graph(self) -> Graph:
        """The model's graph."""
        return self.model.graph

    def limits(self, id: str) -> Limits:
        """The settings of a check, for a probe that shares them."""
        return self.policy.rules[id].limits

    def random(self, *stream: int) -> np.random.Generator:
        """A generator that depends on the seed and on `stream` alone."""
        return np.random.default_rng([self.seed, *stream])

    def spread(self, function: Callable[[T], R], items: Sequence[T], sizes: Sequence[int]) -> list[R]:
        """The function of every item, in threads, for arithmetic that numpy does without the interpreter's lock.

        Each thread gets one share, since handing over each of a hundred layers costs more than looking at most of them.

        Args:
            function: What is computed of an item.
            items: The items.
            sizes: What each item costs.
        """
        threads = min(self.model.threads or count_cores(), len(items))
        if threads < 2:
            return [function(item) for item in items]
        shares: list[list[int]] = [[] for _ in range(threads)]
        loads = [0] * threads
        for place in sorted(range(len(items)), key=lambda k: -sizes[k]):
            least = loads.index(min(loads))
            shares[least].append(place)
            loads[least] += sizes[place]
        found: dict[int, R] = {}

        def work(share: Sequence[int]) -> None:
            for place in share:
                found[place] = function(items[place])

        others = [self._pool.submit(work, share) for share in shares[1:]]
        work(shares[0])
        for other in others:
            other.result()
        return [found[place] for place in range(len(items))]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.model.threads or count_cores())

    def picture_size(self) -> tuple[int, int]:
        """(H, W) of a generated picture: what the network sees."""
        return self.model.preprocess.size or (224, 224)

    def plain_pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Pictures that every network must bear, uint8 (H, W, 3): those that are always the same, and noise."""
        return {**self.fixed_pictures(), "noise": self._make_noise()}

    def fixed_pictures(self) -> dict[str, NDArray[np.uint8]]:
        """The plain pictures that are the same for every seed: flat ones, gradients and checkerboards."""
        return make_fixed_pictures(self.picture_size())

    def _make_noise(self) -> NDArray[np.uint8]:
        return self.random(1).integers(0, 256, (*self.picture_size(), 3), dtype=np.uint8)

    def basic_pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Three plain pictures, for what needs any picture at all: noise, white and black."""
        plain = self.plain_pictures()
        return {name: plain[name] for name in ("noise", "white", "black")}

    def tensors(self, count: int) -> Iterator[tuple[str, NDArray[Any]]]:
        """(name, input tensor) of `count` pictures, evenly spread; generated ones where none were given."""
        found = 0
        for index in self.pictures.sample(count) if self.pictures.entries else ():
            entry = self.pictures.entries[index]
            try:
                tensor = self.model.preprocess.tensor(open_image(self.reader.read(entry), warn=self.model.warn))
            except ImageError:
                continue  # reported by its own check
            found += 1
            yield entry.shown, tensor
        for name, picture in self.basic_pictures().items() if not found else ():
            yield name, self.model.tensor(picture)

    def has(self, need: Need) -> bool:
        """Whether there is what a check may need."""
        try:
            self.need(need)
        except NotChecked:
            return False
        return True

    def need(self, *needs: Need) -> None:
        """Raise NotChecked, with the reason, where one of `needs` is lacking."""
        for each in needs:
            _NEEDED[each](self)

    def need_classifier(self) -> None:
        """Raise NotChecked for a model without a classification output."""
        if self.model.classifier is None:
            does = _TASKS.get(self.model.task or "", "")
            raise NotChecked(f"the model has no classification output{does and f': it {does}'}", applies=False)

    def need_detector(self) -> None:
        """Raise NotChecked for a model that finds no objects."""
        if self.model.task not in ("detect", "pose"):
            raise NotChecked("the model detects no objects", applies=False)

    def need_segmenter(self) -> None:
        """Raise NotChecked for a model that gives no class to every pixel."""
        if self.model.task != "segment":
            raise NotChecked("the model gives no class to every pixel", applies=False)

    def need_answers(self) -> None:
        """Raise NotChecked for a model whose answers cannot be held against each other."""
        if self.model.task not in ("classify", "detect", "pose", "segment"):
            raise NotChecked("the model neither classifies nor detects nor segments", applies=False)

    def need_boxes(self) -> None:
        """Raise NotChecked where the pictures have no labelled boxes."""
        self.need_detector()
        if not self.pictures.labelled:
            raise NotChecked(self.pictures.unlabelled)

    def need_masks(self) -> None:
        """Raise NotChecked where the pictures have no masks."""
        self.need_segmenter()
        if not self.pictures.labelled:
            raise NotChecked(self.pictures.unlabelled)

    def need_labels(self) -> None:
        """Raise NotChecked where the pictures have no classes."""
        self.need_classifier()
        if not self.pictures.labelled:
            raise NotChecked(self.pictures.unlabelled)

    def need_pictures(self, count: int = 1) -> None:
        """Raise NotChecked where there are fewer pictures than `count`, those left out that could not be read."""
        if not self.pictures.entries:
            raise NotChecked(PictureSet().unlabelled)
        readable = len(self.pictures) - len(self.unreadable)
        if readable < count:
            raise NotChecked(f"{readable} pictures are too few; the policy asks for {count}")


def make_fixed_pictures(size: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
    """Pictures without content, uint8 (H, W, 3): the extremes of every channel, gradients and checkerboards."""
    height, width = size
    colors = {
        "black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
        "yellow": (255, 255, 0), "magenta": (255, 0, 255), "cyan": (0, 255, 255), "grey": (128, 128, 128),
    }  # fmt: skip
    found: dict[str, NDArray[np.uint8]] = {
        name: np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy() for name, color in colors.items()
    }
    rows, columns = np.mgrid[:height, :width]
    across = columns * 255 // max(1, width - 1)
    down = rows * 255 // max(1, height - 1)
    fine, coarse = (((rows // edge + columns // edge) % 2) * 255 for edge in (1, max(2, min(size) // 8)))
    boards = {"checkerboard": fine, "large checkerboard": coarse, "rows": rows % 2 * 255, "columns": columns % 2 * 255}
    # What is planted may answer to one phase alone.
    boards |= {f"{name}, reversed": 255 - grey for name, grey in boards.items()}
    for name, grey in {"gradient": across, **boards}.items():
        found[name] = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    # Every mixture of two channels, with the third at its largest where both are smallest.
    found["colour gradient"] = np.stack([across, down, 255 - (across + down) // 2], axis=2).astype(np.uint8)
    return found


def score_plain_pictures(model: Model, pictures: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.float64]]:
    """Probabilities (K,) that a classifier gives each picture, by the picture's name."""
    found = {name: model.run_classes(model.tensor(picture)) for name, picture in pictures.items()}
    return {name: model.probabilities(classes)[0] for name, classes in found.items()}


def _need_reference(subject: Subject) -> None:
    if subject.reference is None and subject.snapshot is None:
        raise NotChecked("there is nothing to compare with (--against MODEL or SNAPSHOT, or reference in the policy)")


def _need_snapshot(subject: Subject) -> None:
    if subject.snapshot is None or subject.reference is not None:
        raise NotChecked("only a snapshot keeps statistics; models are compared value by value", applies=False)


def _need_batches(subject: Subject) -> None:
    if subject.model.input.batch is not None:
        raise NotChecked(f"the graph fixes its batch to {subject.model.input.batch}", applies=False)


def _need_object(subject: Subject) -> None:
    if not subject.policy.regions.objects:
        raise NotChecked("the policy says nowhere where the object is (regions: masks, boxes or box)")


def _need_avoided(subject: Subject) -> None:
    if subject.policy.regions.avoid is None:
        raise NotChecked("the policy names no region to avoid (regions.avoid)")


def _need_torch(subject: Subject) -> None:
    try:
        need("torch", "torch", "the twin needs torch")
    except MissingExtra as error:
        raise NotChecked(error.message) from None


def _need_linux(subject: Subject) -> None:
    if not Path("/proc/self/status").exists():
        raise NotChecked("peak memory is read from /proc, which this system does not have")


_NEEDED: Mapping[Need, Callable[[Subject], None]] = {
    "pictures": Subject.need_pictures,
    "labels": Subject.need_labels,
    "classification": Subject.need_classifier,
    "answers": Subject.need_answers,
    "detection": Subject.need_detector,
    "segmentation": Subject.need_segmenter,
    "boxes": Subject.need_boxes,
    "masks": Subject.need_masks,
    "batches": _need_batches,
    "object": _need_object,
    "avoid": _need_avoided,
    "reference": _need_reference,
    "snapshot": _need_snapshot,
    "torch": _need_torch,
    "linux": _need_linux,
}
