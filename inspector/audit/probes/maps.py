"""Class activation maps of some of the pictures, and what they are worth."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from inspector.audit.probes import Probe
from inspector.audit.regions import find_region, region_of_box
from inspector.audit.result import NotChecked
from inspector.audit.subject import Sight, Subject
from inspector.errors import MissingExtra, NotComputable

if TYPE_CHECKING:
    from inspector.cam import CamEngine, CamResult
    from inspector.cam.faithfulness import Curve

METHOD = "gradcam"


class Maps(Probe):
    """The map of the most likely class on each chosen picture. Base of the probes that judge it.

    empty: pictures whose map shows no positive evidence at all; they are left out.
    """

    def __init__(self, subject: Subject) -> None:
        from inspector.cam import prepare

        super().__init__(subject)
        subject.need_pictures()
        subject.need_classifier()
        try:
            self.engine: CamEngine = prepare(subject.model, METHOD)
        except (MissingExtra, NotComputable) as error:
            raise NotChecked(f"no class activation map: {error.message}") from None
        self.chosen = frozenset(self.choose())
        self.empty: list[str] = []

    def choose(self) -> tuple[int, ...]:
        """Indices of the pictures whose maps are judged."""
        return self.subject.pictures.sample(self.subject.policy.images.explain)

    def wants(self, sight: Sight) -> bool:
        """Whether the map of this picture is judged."""
        return sight.index in self.chosen

    def look(self, sight: Sight) -> None:
        """Take in one picture."""
        if not self.wants(sight):
            return
        if "map" not in sight.memo:
            [sight.memo["map"]] = self.engine.maps(sight.picture)
        found: CamResult = sight.memo["map"]
        if found.empty:
            self.empty.append(sight.entry.shown)
        else:
            self.judge(sight, found)

    def judge(self, sight: Sight, found: CamResult) -> None:
        """Take in one map."""
        raise NotImplementedError


class _Curves(Maps):
    """Areas under the curves of the map and of random maps of the same grain, by picture."""

    which: Literal["deletion", "insertion"]

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        limits = subject.limits(f"cam-{self.which}")
        self.steps, self.randoms = int(limits["steps"]), max(1, int(limits["random"]))
        self.areas: dict[str, tuple[float, float]] = {}

    def judge(self, sight: Sight, found: CamResult) -> None:
        """Take in one map."""
        random = self.subject.random(4, sight.index)
        draws = [random.random(found.raw.shape, dtype=np.float32) for _ in range(self.randoms)]
        # An order that happens to take the object first has a reverse that takes it last: their mean varies little.
        others = [replace(found, raw=sign * draw) for draw in draws for sign in (1, -1)]
        areas = [self._area(sight, each).area for each in (found, *others)]
        self.areas[sight.entry.shown] = (areas[0], float(np.mean(areas[1:])))

    def _area(self, sight: Sight, found: CamResult) -> Curve:
        from inspector.cam import faithfulness

        curve = faithfulness.deletion if self.which == "deletion" else faithfulness.insertion
        return curve(self.subject.model, sight.tensor, found, steps=self.steps)

    def need(self) -> None:
        """Raises NotChecked where there was no map to judge."""
        if not self.areas:
            raise NotChecked("no map shows positive evidence")


class Deletion(_Curves):
    """areas: (map, mean of random maps) by picture; the smaller the better."""

    which = "deletion"


class Insertion(_Curves):
    """areas: (map, mean of random maps) by picture; the larger the better."""

    which = "insertion"


class Inside(Maps):
    """energy: share of each map inside the object, and hits: whether its peak is, by picture."""

    def __init__(self, subject: Subject) -> None:
        if not subject.policy.regions.objects:
            raise NotChecked("the policy says nowhere where the object is (regions: masks, boxes or box)")
        super().__init__(subject)
        self.energy: dict[str, float] = {}
        self.hits: dict[str, bool] = {}

    def choose(self) -> tuple[int, ...]:
        """Indices of pictures that have a region, evenly spread."""
        from inspector.audit.pictures import spread

        regions = self.subject.policy.regions
        there = [i for i, e in enumerate(self.subject.pictures.entries) if find_region(regions, e.key)]
        if not there:
            raise NotChecked("no picture has a mask or a box")
        return tuple(there[i] for i in spread(len(there), self.subject.policy.images.explain))

    def judge(self, sight: Sight, found: CamResult) -> None:
        """Take in one map."""
        from inspector.cam.faithfulness import energy_inside, pointing_game

        where = find_region(self.subject.policy.regions, sight.entry.key)
        assert where is not None
        region = where(sight.picture.size)
        self.energy[sight.entry.shown] = energy_inside(found, region)
        self.hits[sight.entry.shown] = pointing_game(found, region)

    def need(self) -> None:
        """Raises NotChecked where there was no map to judge."""
        if not self.energy:
            raise NotChecked("no map shows positive evidence")


class Avoided(Maps):
    """energy: share of each map inside the region to avoid, and area: what share of the seen picture it is, by picture.
    classes: the class of each picture, its own or else the most likely one.

    Up to `explain` pictures of each class are looked at: a mark on a rare class must not get lost among the others.
    """

    def __init__(self, subject: Subject) -> None:
        if subject.policy.regions.avoid is None:
            raise NotChecked("the policy names no region to avoid (regions.avoid)")
        super().__init__(subject)
        self.energy: dict[str, float] = {}
        self.area: dict[str, float] = {}
        self.classes: dict[str, int] = {}
        self.seen: Counter[int] = Counter()

    def choose(self) -> tuple[int, ...]:
        """Indices of up to `explain` pictures of each class, evenly spread; all where only the scores tell it."""
        from inspector.audit.pictures import spread

        pictures, count = self.subject.pictures, self.subject.policy.images.explain
        if not pictures.labelled:
            return tuple(range(len(pictures)))
        members: dict[int | None, list[int]] = {}
        for i, entry in enumerate(pictures.entries):
            members.setdefault(entry.label, []).append(i)
        return tuple(sorted(of[i] for of in members.values() for i in spread(len(of), count)))

    def wants(self, sight: Sight) -> bool:
        """Whether the map of this picture is judged; counts those that are."""
        if sight.index not in self.chosen:
            return False
        assert sight.scores is not None
        own = sight.entry.label
        found = own if own is not None else self.subject.model.top(sight.scores, 1)[0].index
        count = self.subject.policy.images.explain
        if 0 < count <= self.seen[found]:
            return False
        self.seen[found] += 1
        self.classes[sight.entry.shown] = found
        return True

    def judge(self, sight: Sight, found: CamResult) -> None:
        """Take in one map."""
        from inspector.cam.faithfulness import energy_inside

        box = self.subject.policy.regions.avoid
        assert box is not None
        region = region_of_box(box, sight.picture.size)
        self.energy[sight.entry.shown] = energy_inside(found, region)
        self.area[sight.entry.shown] = energy_inside(replace(found, heatmap=np.ones_like(found.heatmap)), region)

    def need(self) -> None:
        """Raises NotChecked where there was no map to judge."""
        if not self.energy:
            raise NotChecked("no map shows positive evidence")
        if not any(self.area.values()):
            raise NotChecked("the region to avoid lies outside of what the network sees")
