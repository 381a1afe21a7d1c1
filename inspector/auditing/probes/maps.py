"""Class activation maps of some of the pictures, and what they are worth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.needs import Need
from inspector.auditing.probes import Probe
from inspector.auditing.regions import find_region, make_box_region
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.errors import MissingExtra, NotComputable
from inspector.image import choose_evenly

if TYPE_CHECKING:
    from inspector.cam import CamEngine, CamResult
    from inspector.cam.faithfulness import FaithfulnessCurve

METHOD = "gradcam"


class TopMaps(Probe):
    """The class activation map of the most likely class on each chosen picture. Base of the probes that judge it.

    Attributes:
        empty: Pictures whose map shows no positive evidence at all; they are left out.
    """

    needs: ClassVar[tuple[Need, ...]] = ("classification", "pictures")

    def __init__(self, subject: Subject) -> None:
        from inspector.cam import prepare

        super().__init__(subject)
        try:
            self.engine: CamEngine = prepare(subject.model, METHOD)
        except (MissingExtra, NotComputable) as error:
            raise NotChecked(f"no class activation map: {error.message}") from None
        self.chosen = frozenset(self.choose())
        self.empty: list[str] = []

    def choose(self) -> tuple[int, ...]:
        """Indices of the pictures whose maps are judged."""
        return self.subject.pictures.sample(self.subject.policy.images.explain)

    def wants(self, forward: ForwardPass) -> bool:
        """Whether the map of this picture is judged."""
        return forward.index in self.chosen

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if not self.wants(forward):
            return
        if "map" not in forward.memo:
            [forward.memo["map"]] = self.engine.maps(forward.picture)
        found: CamResult = forward.memo["map"]
        if found.empty:
            self.empty.append(forward.entry.shown)
        else:
            self.judge(forward, found)

    def judge(self, forward: ForwardPass, found: CamResult) -> None:
        """Take in one map."""
        raise NotImplementedError


class _Curves(TopMaps):
    """Areas under the curves of the map and of random maps of the same grain.

    Attributes:
        areas: (area of the map, mean area of the random maps) by picture.
    """

    which: Literal["deletion", "insertion"]

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        limits = subject.limits(f"cam-{self.which}")
        self.steps, self.randoms = int(limits["steps"]), max(1, int(limits["random"]))
        self.areas: dict[str, tuple[float, float]] = {}

    def judge(self, forward: ForwardPass, found: CamResult) -> None:
        """Take in one map."""
        random = self.subject.random(4, forward.index)
        draws = [random.random(found.raw.shape, dtype=np.float32) for _ in range(self.randoms)]
        # An order that happens to take the object first has a reverse that takes it last: their mean varies little.
        others = [replace(found, raw=sign * draw) for draw in draws for sign in (1, -1)]
        areas = [self._area(forward, each).area for each in (found, *others)]
        self.areas[forward.entry.shown] = (areas[0], float(np.mean(areas[1:])))

    def _area(self, forward: ForwardPass, found: CamResult) -> FaithfulnessCurve:
        from inspector.cam import faithfulness

        curve = faithfulness.deletion if self.which == "deletion" else faithfulness.insertion
        return curve(self.subject.model, forward.tensor, found, steps=self.steps)

    def need(self) -> None:
        """Raise NotChecked where there was no map to judge."""
        if not self.areas:
            raise NotChecked("no map shows positive evidence")


class Deletion(_Curves):
    """The curves while pixels are deleted; the smaller the area, the better."""

    which = "deletion"


class Insertion(_Curves):
    """The curves while pixels are inserted; the larger the area, the better."""

    which = "insertion"


class Inside(TopMaps):
    """How much of each map lies on the object.

    Attributes:
        energy: Share of the map inside the object, by picture.
        hits: Whether the map's peak is inside the object, by picture.
    """

    needs = ("classification", "object", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.energy: dict[str, float] = {}
        self.hits: dict[str, bool] = {}

    def choose(self) -> tuple[int, ...]:
        """Indices of pictures that have a region, evenly spread."""
        regions = self.subject.policy.regions
        there = [i for i, e in enumerate(self.subject.pictures.entries) if find_region(regions, e.key)]
        if not there:
            raise NotChecked("no picture has a mask or a box")
        return tuple(there[i] for i in choose_evenly(len(there), self.subject.policy.images.explain))

    def judge(self, forward: ForwardPass, found: CamResult) -> None:
        """Take in one map."""
        from inspector.cam.faithfulness import energy_inside, pointing_game

        where = find_region(self.subject.policy.regions, forward.entry.key)
        assert where is not None
        region = where(forward.picture.size)
        self.energy[forward.entry.shown] = energy_inside(found, region)
        self.hits[forward.entry.shown] = pointing_game(found, region)

    def need(self) -> None:
        """Raise NotChecked where there was no map to judge."""
        if not self.energy:
            raise NotChecked("no map shows positive evidence")


class Avoided(TopMaps):
    """How much of each map lies in the region to avoid.

    Up to `explain` pictures of each class are looked at: a mark on a rare class must not get lost among the others.

    Attributes:
        energy: Share of the map inside the region, by picture.
        area: Share of the seen picture that the region is, by picture.
        classes: The class of each picture, its own or else the most likely one.
        seen: How many pictures of each class were looked at.
    """

    needs = ("classification", "avoid", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.energy: dict[str, float] = {}
        self.area: dict[str, float] = {}
        self.classes: dict[str, int] = {}
        self.seen: Counter[int] = Counter()

    def choose(self) -> tuple[int, ...]:
        """Indices of up to `explain` pictures of each class, evenly spread; all where only the scores tell it."""
        pictures, count = self.subject.pictures, self.subject.policy.images.explain
        if not pictures.labelled:
            return tuple(range(len(pictures)))
        members: dict[int | None, list[int]] = {}
        for i, entry in enumerate(pictures.entries):
            members.setdefault(entry.label, []).append(i)
        return tuple(sorted(of[i] for of in members.values() for i in choose_evenly(len(of), count)))

    def wants(self, forward: ForwardPass) -> bool:
        """Whether the map of this picture is judged; counts those that are."""
        if forward.index not in self.chosen:
            return False
        assert forward.classes is not None
        own = forward.entry.label
        found = own if own is not None else self.subject.model.top(forward.classes, 1)[0].index
        count = self.subject.policy.images.explain
        if 0 < count <= self.seen[found]:
            return False
        self.seen[found] += 1
        self.classes[forward.entry.shown] = found
        return True

    def judge(self, forward: ForwardPass, found: CamResult) -> None:
        """Take in one map."""
        from inspector.cam.faithfulness import energy_inside

        box = self.subject.policy.regions.avoid
        assert box is not None
        region = make_box_region(box, forward.picture.size)
        self.energy[forward.entry.shown] = energy_inside(found, region)
        self.area[forward.entry.shown] = energy_inside(replace(found, heatmap=np.ones_like(found.heatmap)), region)

    def need(self) -> None:
        """Raise NotChecked where there was no map to judge."""
        if not self.energy:
            raise NotChecked("no map shows positive evidence")
        if not any(self.area.values()):
            raise NotChecked("the region to avoid lies outside of what the network sees")
