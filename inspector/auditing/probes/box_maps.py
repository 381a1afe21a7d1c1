"""The maps of the boxes that a detector finds."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.auditing.forward_pass import ForwardPass
from inspector.auditing.probes import Probe
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject
from inspector.cam.engines import prepare_maps
from inspector.errors import NotComputable


@dataclass(frozen=True)
class BoxMap:
    """How much of the map of one box lies inside it.

    Attributes:
        shown: The picture's path.
        label: The class of the box.
        score: Its score.
        energy: Share of the map inside the box, in [0, 1].
        area: Share of the picture that the box takes, in [0, 1].
    """

    shown: str
    label: str
    score: float
    energy: float
    area: float


class BoxMaps(Probe):
    """LayerCAM of the best boxes of a few pictures.

    Attributes:
        maps: Of each box whose map is not empty.
        empty: Paths of the pictures with a box whose map is empty.
        lacking: Why the boxes cannot be explained; empty where they can.
        tried: How many pictures were looked at.
    """

    needs = ("detection", "pictures")

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.chosen = frozenset(subject.pictures.sample(subject.policy.images.explain))
        self.most = int(subject.limits("box-energy-inside")["boxes"])
        self.maps: list[BoxMap] = []
        self.empty: list[str] = []
        self.lacking = ""
        self.tried = 0
        try:
            self.engine = prepare_maps(subject.model, "layercam")
        except NotComputable as error:
            raise NotChecked(error.message, applies=False) from None

    def look(self, forward: ForwardPass) -> None:
        """Take in one picture."""
        if forward.index not in self.chosen or self.lacking:
            return
        self.tried += 1
        try:
            found = self.engine.maps(forward.picture, top=self.most)
        except NotComputable as error:
            self.lacking = error.message
            return
        width, height = forward.picture.size
        for one in found:
            if one.found is None or one.energy_inside is None:
                self.empty.append(forward.entry.shown)
                continue
            x1, y1, x2, y2 = one.found.box
            area = (x2 - x1) * (y2 - y1) / (width * height)
            label = self.subject.model.label(one.found.index)
            self.maps.append(BoxMap(forward.entry.shown, label, one.found.score, one.energy_inside, area))

    def need_maps(self) -> None:
        """Ask whether there is a map to judge.

        Raises:
            NotChecked: The boxes cannot be explained, or none was found.
        """
        if self.lacking:
            raise NotChecked(self.lacking, applies=False)
        if not self.maps:
            what = "the maps of all boxes are empty" if self.empty else "no object is found"
            raise NotChecked(f"{what} on the {self.tried} pictures that are explained")
