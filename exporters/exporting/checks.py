"""What is refused before an export: a network not in evaluation mode, or one whose scores take more than a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from exporters.sources.needs import nn, quiet, torch
from inspector.agreement import TOLERANCE
from inspector.errors import InspectorError, listing, one_line

_NAMES_OF_SCORES = ("logits", "out", "output", "scores", "prediction", "pred")


class ExportError(InspectorError):
    """The network cannot be exported as it is."""

    kind = "export"


@dataclass(frozen=True)
class Answer:
    """Which of the tensors that a network returns holds the scores.

    Attributes:
        index: Its position among all leaves of what forward returns.
        value: The scores of one picture, (1, K).
        note: What was decided, where there was a choice; else empty.
    """

    index: int
    value: torch.Tensor
    note: str


@contextmanager
def pause_training(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode inside the block, every submodule's own mode restored after it.

    Raises:
        ExportError: A submodule stays in training mode.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        if stubborn := [name or "the network itself" for name, part in module.named_modules() if part.training]:
            raise ExportError(
                f"{len(stubborn)} modules stay in training mode after eval(): {listing(stubborn)}",
                "a network with dropout or batch statistics at work gives other scores; let train(False) reach them",
            )
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def check_answers(module: nn.Module, pictures: torch.Tensor) -> Answer:
    """Runs the network and returns its scores on the first picture.

    Args:
        module: The network in evaluation mode.
        pictures: (N, C, H, W), N >= 2, all different.

    Raises:
        ExportError: Forward fails, returns no tensor, differs from run to run, or mixes the pictures of a batch.
    """
    together = _leaves(module, pictures)
    index, note = _choose(together)
    batch = cast(torch.Tensor, together[index][1])
    alone, again, *others = (
        cast(torch.Tensor, _leaves(module, pictures[k : k + 1])[index][1]) for k in (0, *range(len(pictures)))
    )
    if not _same(alone, again):
        culprits = [name for name, part in module.named_modules() if "dropout" in type(part).__name__.lower()]
        where = f" (it has {listing(culprits)})" if culprits else ""
        raise ExportError(
            f"two runs on one picture in evaluation mode give different scores{where}",
            "something random does not heed eval(), such as F.dropout without training=self.training",
        )
    if batch.shape[:1] != pictures.shape[:1] or not all(
        _same(batch[k : k + 1], one) for k, one in enumerate((alone, *others))
    ):
        culprits = [
            name
            for name, part in module.named_modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
        ]
        where = f"; {listing(culprits)} keep no running statistics" if culprits else ""
        raise ExportError(
            f"the scores of a picture depend on the other pictures of its batch{where}",
            "use batch norms with track_running_stats=True, or norms that look at one picture",
        )
    return Answer(index, alone, note)


def check_deterministic(program: torch.export.ExportedProgram) -> None:
    """Raise ExportError when the exported program draws random numbers, however small their effect."""
    random = [node.name for node in program.graph.nodes if _draws(node)]
    if random:
        raise ExportError(
            f"the network draws random numbers in evaluation mode: {listing(random)}",
            "something random does not heed eval(), such as F.dropout without training=self.training",
        )


def _draws(node: torch.fx.Node) -> bool:
    operator = node.target
    if not isinstance(operator, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in operator.tags:
        return False
    names = [argument.name for argument in operator._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    # Attention and dropout carry the tag also where they are told not to drop anything.
    switch = next((name for name in ("dropout_p", "train", "training") if name in names), None)
    return bool(given.get(switch, False)) if switch else True


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    # NaN equals NaN here: that is for the comparison of layers to find, which can name the layer.
    return torch.allclose(a, b, rtol=0, atol=TOLERANCE * float(a.nan_to_num().abs().max()) + 1e-12, equal_nan=True)


def _leaves(module: nn.Module, pictures: torch.Tensor) -> Sequence[tuple[str, object]]:
    try:
        with torch.no_grad(), quiet():
            answer: Any = module(pictures)
    except Exception as error:  # whatever the forward of a stranger raises
        raise ExportError(
            f"{type(module).__name__} fails on a picture of shape {tuple(pictures.shape)}: "
            f"{type(error).__name__}: {one_line(str(error), 200)}",
            "check --size, and that the network takes one batch of pictures",
        ) from error
    flat, _ = torch.utils._pytree.tree_flatten_with_path(answer)
    return [(str(getattr(path[-1], "key", getattr(path[-1], "name", ""))) if path else "", leaf) for path, leaf in flat]


def _choose(leaves: Sequence[tuple[str, object]]) -> tuple[int, str]:
    """The position of the scores: by name, else the first matrix, else the first; a note when there was a choice."""
    tensors = {
        i: (name, leaf)
        for i, (name, leaf) in enumerate(leaves)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    }
    if not tensors:
        kinds = listing(list(dict.fromkeys(type(leaf).__name__ for _, leaf in leaves)))
        raise ExportError(f"forward returns no tensor but {kinds or 'nothing'}", "return the scores as a tensor (N, K)")
    named = [i for word in _NAMES_OF_SCORES for i, (name, _) in tensors.items() if name == word]
    matrices = [i for i, (_, leaf) in tensors.items() if leaf.ndim == 2]
    index = (named or matrices or list(tensors))[0]
    if len(tensors) == 1:
        return index, ""
    name = tensors[index][0]
    which = f"{name!r}" if name else f"number {list(tensors).index(index) + 1}"
    return index, f"forward returns {len(tensors)} tensors; {which} is taken as the scores"
