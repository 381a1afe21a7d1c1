"""The methods, one file each. A: activation (C, h, w). Y: the score explained. G = dY/dA. w: a channel's weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

from inspector.cam.look import Array, Look
from inspector.cam.methods.ablationcam import ablationcam
from inspector.cam.methods.cam import cam
from inspector.cam.methods.eigencam import eigencam
from inspector.cam.methods.gradcam import gradcam
from inspector.cam.methods.gradcampp import gradcampp
from inspector.cam.methods.hirescam import hirescam
from inspector.cam.methods.layercam import layercam
from inspector.cam.methods.reciprocam import reciprocam
from inspector.cam.methods.scorecam import scorecam
from inspector.cam.methods.xgradcam import xgradcam
from inspector.errors import UsageError, nearest

Needs = Literal["activation", "gradient", "runs"]


@dataclass(frozen=True)
class Method:
    """One way to weigh a layer's maps.

    needs: ``activation`` alone (the same map for every class), its ``gradient``, or further ``runs`` of the network.
    linear_head: only defined where the scores are an affine function of the layer. whole_network: the runs are of the
    whole network, not of the part behind the layer.
    """

    name: str
    title: str
    paper: str
    needs: Needs
    formula: Callable[..., object]
    aliases: tuple[str, ...] = ()
    linear_head: bool = False
    whole_network: bool = False

    @property
    def class_independent(self) -> bool:
        """Whether it makes one map whatever the class."""
        return self.needs == "activation"

    def maps(self, look: Look) -> Sequence[Array]:
        """The raw maps, float32 (h, w), one for each of the look's targets."""
        if self.needs == "activation":
            one = cast(Array, self.formula(look.activation))
            return [one] * len(look.targets)
        if self.needs == "gradient":
            return [cast(Array, self.formula(look.activation, look.gradient(t))) for t in look.targets]
        return cast("Sequence[Array]", self.formula(look))


_ALL = (
    Method("cam", "CAM", "Zhou 2016, arXiv:1512.04150", "gradient", cam, linear_head=True),
    Method("gradcam", "Grad-CAM", "Selvaraju 2017, arXiv:1610.02391", "gradient", gradcam),
    Method("gradcam++", "Grad-CAM++", "Chattopadhay 2018, arXiv:1710.11063", "gradient", gradcampp, ("gradcampp",)),
    Method("hirescam", "HiResCAM", "Draelos 2020, arXiv:2011.08891", "gradient", hirescam),
    Method("xgradcam", "XGrad-CAM", "Fu 2020, arXiv:2008.02312", "gradient", xgradcam),
    Method("layercam", "LayerCAM", "Jiang 2021, IEEE TIP 30", "gradient", layercam),
    Method("eigencam", "Eigen-CAM", "Muhammad 2020, arXiv:2008.00299", "activation", eigencam),
    Method("scorecam", "Score-CAM", "Wang 2020, arXiv:1910.01279", "runs", scorecam, whole_network=True),
    Method("ablationcam", "Ablation-CAM", "Desai 2020, WACV", "runs", ablationcam),
    Method("reciprocam", "Recipro-CAM", "Byun 2022, arXiv:2209.14074", "runs", reciprocam),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in _ALL})
"""Every method by its name."""

_SPELLINGS = {spelling.replace("+", "p"): method for method in _ALL for spelling in (method.name, *method.aliases)}


def find_method(name: str) -> Method:
    """The method that goes by `name`, in any case and with or without hyphens (grad-cam, GradCAM++, gradcampp).

    Raises UsageError with the nearest names.
    """
    plain = "".join(c for c in name.lower() if c.isalnum() or c == "+").replace("+", "p").replace("plusplus", "pp")
    if plain not in _SPELLINGS:
        raise UsageError(
            f"there is no method {name!r}; nearest: {', '.join(nearest(name, METHODS))}", f"known: {', '.join(METHODS)}"
        )
    return _SPELLINGS[plain]
