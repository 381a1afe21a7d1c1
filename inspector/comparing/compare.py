"""Two networks on the same pictures, layer by layer: where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inspector.comparing.answers import AnswerSums
from inspector.comparing.axes import is_folded, read_first, write_first
from inspector.comparing.cutting import OWN, Engine, make_stages, measure_tensors, open_graph
from inspector.comparing.matching import find_nodes, match_nodes
from inspector.comparing.result import LayerDifference, ModelDifference, find_parted
from inspector.comparing.rounding import DRAWS, RoundingBound, shake
from inspector.comparing.sums import LayerValues, PairSums, measure_power
from inspector.comparing.values import RunPair, judge_pairs
from inspector.errors import ImageError, ModelError
from inspector.graph import Graph
from inspector.image import ImageSource, open_image
from inspector.layers import Layer
from inspector.model import Model
from inspector.runtime import KEPT_SESSIONS, count_cores, release_memory

if TYPE_CHECKING:
    from PIL.Image import Image

EngineMaker = Callable[[Model, Graph], Engine]

STAGE_ELEMENTS = 1_200_000
"""Elements of layers that are held at once, of each network: a network with more is run in pieces."""
_MOST_STAGES = KEPT_SESSIONS
_RELEASED = 4
"""Pieces after which memory is given back: after each, it would cost a quarter of the time."""


@dataclass
class Side:
    """One of the two networks.

    Attributes:
        model: The model.
        make: Makes what runs it.
        name: What it is called.
        layers: Its layers, and its outputs that are none.
    """

    model: Model
    make: EngineMaker
    name: str
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.layers = [*self.model.layers, *find_plain_outputs(self.model)]
        self.engine = self.make(self.model, self.model.graph)

    @property
    def pictures(self) -> int:
        """How many pictures the graph takes at once."""
        return self.model.input.batch or 1

    def tensor(self, picture: Image) -> NDArray[Any]:
        """The input for one picture, as often as the graph fixes."""
        return np.repeat(self.model.preprocess.tensor(picture), self.pictures, axis=0)


def find_plain_outputs(model: Model) -> list[Layer]:
    """The outputs of a graph that are no layers, as layers of the kind ``output``."""
    known = {layer.tensor for layer in model.layers}
    names = {layer.name for layer in model.layers}
    graph = model.graph
    return [
        Layer(name, name, "output", None, True)
        for name in graph.outputs
        if name not in known and name not in names and name in graph.producer_of
        and name in graph.from_picture and name not in graph.counted
    ]  # fmt: skip


class ComparedSides:
    """Two networks that are run on pictures, with sums of every pair of layers.

    Attributes:
        a: The one that counts as right.
        b: The one that is judged.
        matching: The layers that are matched.
        pairs: The pairs, in the order of A; known from the first picture on.
    """

    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        ours, theirs = (find_nodes(side.model.graph, side.layers) for side in (a, b))
        self.matching = match_nodes(ours, theirs)
        self.nodes = ({x.layer.name: x for x in ours}, {x.layer.name: x for x in theirs})
        self.pairs: list[RunPair] = []
        self.sums: list[PairSums] = []
        self.bounds: list[RoundingBound] = []
        self.answers = AnswerSums(a.model, b.model)
        self.notes: list[str] = []
        self.pool = ThreadPoolExecutor(a.model.threads or count_cores())
        self._own: Engine | None = None
        self._groups: list[list[int]] = []

    def add(self, path: str, picture: Image) -> None:
        """Take in one picture."""
        forced: dict[str, NDArray[Any]] = {}
        for k, held_a, held_b in self._pass(picture):
            if not k:
                inputs = held_a[self.a.model.input.name], held_b[self.b.model.input.name]
                forced[self.b.model.input.name] = inputs[1]
            self._measure(self._groups[k], held_a, held_b, forced, self._own_stages[k])
            for name in self._done_own[k]:
                forced.pop(name, None)
        self.answers.add(path, picture, inputs, held_a, held_b)

    def show(self, picture: Image, take: Callable[[int, LayerValues, LayerValues | None], None]) -> None:
        """Run both on a picture once more.

        Args:
            picture: One that was taken in.
            take: Called for each pair with its place in `pairs`, A's values, float32 (C, ...), and B's laid out alike;
                None where they have another shape.
        """
        for k, held_a, held_b in self._pass(picture):
            pairs = [(i, self.pairs[i]) for i in self._groups[k]]
            firsts = to_first(self.a, held_a, [pair.match.a for _, pair in pairs])
            seconds = to_first(self.b, held_b, [pair.match.b for _, pair in pairs])
            for i, pair in pairs:
                a, b = firsts[pair.match.a.name], seconds[pair.match.b.name]
                turned = None if pair.turn is None else pair.turn.to_a(b, a.shape)
                take(i, a[0], None if turned is None else np.ascontiguousarray(turned[0]))

    def _pass(self, picture: Image) -> Iterator[tuple[int, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]:
        """Run both on a picture, stage by stage: (stage, what is held of A's tensors, what is held of B's)."""
        tensors = self.a.tensor(picture), self.b.tensor(picture)
        if not self.sums:
            self._prepare(*tensors)
        held_a, held_b = {self.a.model.input.name: tensors[0]}, {self.b.model.input.name: tensors[1]}
        both = (held_a, self.a, self._stages_a), (held_b, self.b, self._stages_b)
        for k in range(len(self._groups)):
            for held, side, stages in both:
                if stages[k].outputs:
                    held |= side.engine.run({name: held[name] for name in stages[k].inputs}, stages[k].outputs)
            yield k, held_a, held_b
            for held, _, stages in both if k < len(self._groups) - 1 else ():
                for name in stages[k].dropped:
                    held.pop(name, None)
            if k % _RELEASED == _RELEASED - 1:
                release_memory()

    # --- once -----------------------------------------------------------------------------------------------------

    def _prepare(self, tensor_a: NDArray[Any], tensor_b: NDArray[Any]) -> None:
        """Judge the matches by the first picture, and lay out the run."""
        self._judge(tensor_a, tensor_b)
        self._check_pairs()
        self.sums = [PairSums() for _ in self.pairs]
        matches = [pair.match for pair in self.pairs]
        self.bounds = [RoundingBound(self.nodes[0][x.a.name], self.nodes[1][x.b.name]) for x in matches]
        sizes = measure_tensors(self.a.model.graph, {self.a.model.input.name: tensor_a.shape})
        self._groups = group_pairs([sizes.get(pair.match.a.tensor, 0) for pair in self.pairs])
        extra = self.answers.tensors
        names = [[self.pairs[i].match.a.tensor for i in group] for group in self._groups]
        others = [[self.pairs[i].match.b.tensor for i in group] for group in self._groups]
        names[-1] += extra[0]
        others[-1] += extra[1]
        self._stages_a = make_stages(self.a.model.graph, names)
        self._stages_b = make_stages(self.b.model.graph, others)
        self._open_b()

    def _judge(self, tensor_a: NDArray[Any], tensor_b: NDArray[Any]) -> None:
        matching = self.matching
        sure = all(match.how == "name" for match in matching.pairs)
        if sure and not (matching.only_a or matching.only_b):
            self.pairs = [RunPair(match) for match in matching.pairs]
            return
        layers = [
            list({x.name: x for x in given}.values())
            for given in (
                (*(m.a for m in matching.pairs), *matching.only_a),
                (*(m.b for m in matching.pairs), *matching.only_b),
            )
        ]
        values = [
            to_first(side, side.engine.run({side.model.input.name: tensor}, [x.tensor for x in own]), own)
            for side, tensor, own in ((self.a, tensor_a, layers[0]), (self.b, tensor_b, layers[1]))
        ]
        self.pairs, self.matching = judge_pairs(matching, *values)

    def _check_pairs(self) -> None:
        if not self.pairs:
            raise ModelError(
                f"{self.a.name} and {self.b.name} have no layer in common",
                "compare two files of one network",
            )

    def _open_b(self) -> None:
        """B, cut open at every layer that A can give the value of."""
        graph = self.b.model.graph
        tensors = [pair.match.b.tensor for pair in self.pairs]
        opened = open_graph(graph, tensors)
        groups = [[self.pairs[i].match.b.tensor + OWN for i in group] for group in self._groups]
        self._own = self.b.make(self.b.model, opened)
        inputs = {x.name for x in opened.inputs}
        reads = [opened.needed(group, inputs)[1] & inputs for group in groups]
        self._own_stages = [(tuple(sorted(read)), tuple(group)) for read, group in zip(reads, groups, strict=True)]
        later: set[str] = set()
        done: list[set[str]] = []
        for read in reversed(reads):
            done.append(inputs - later)
            later |= read
        self._done_own = done[::-1]

    # --- each picture ---------------------------------------------------------------------------------------------

    def _measure(
        self, group: Sequence[int], held_a: dict[str, Any], held_b: dict[str, Any], forced: dict[str, Any],
        own_stage: tuple[tuple[str, ...], tuple[str, ...]],
    ) -> None:  # fmt: skip
        pairs = [self.pairs[i] for i in group]
        firsts = to_first(self.a, held_a, [p.match.a for p in pairs])
        seconds = to_first(self.b, held_b, [p.match.b for p in pairs])

        def take(i: int) -> None:
            pair, sums = self.pairs[i], self.sums[i]
            first, b, raw = firsts[pair.match.a.name], seconds[pair.match.b.name], held_b[pair.match.b.tensor]
            rows = is_folded(held_a[pair.match.a.tensor].shape, pair.match.a, self.a.pictures)
            if first.size != b.size and rows and is_folded(raw.shape, pair.match.b, self.b.pictures):
                first, b = first[..., :1], b[..., :1]  # as many rows as there are boxes: the first is compared
            sums.a_shape, sums.b_shape = first.shape, b.shape
            pair.find(first, b)
            # Where the two have other shapes, what follows is run on B's own.
            forced[pair.match.b.tensor] = raw
            turned = None if pair.turn is None else pair.turn.to_a(b, sums.a_shape)
            if turned is None:
                sums.broken = f"has shape {sums.b_shape} and not {sums.a_shape}"
                return
            sums.add(first[0], np.ascontiguousarray(turned[0]))
            assert pair.turn is not None
            if b is seconds[pair.match.b.name]:
                value = pair.turn.to_b(first, b.shape)
                forced[pair.match.b.tensor] = write_first(value, pair.match.b, raw, self.b.pictures)

        list(self.pool.map(take, group))
        if self._own is not None and own_stage[1]:
            self._measure_own(group, firsts, forced, *own_stage)

    def _measure_own(
        self, group: Sequence[int], firsts: dict[str, LayerValues], forced: dict[str, Any], reads: tuple[str, ...],
        outputs: tuple[str, ...],
    ) -> None:  # fmt: skip
        assert self._own is not None
        if any(name not in forced for name in reads):
            return
        try:
            made = self._own.run({name: forced[name] for name in reads}, outputs)
        except ModelError as error:
            self.notes.append(f"B's layers could not be run on A's values: {error.message}")
            self._own = None
            return
        owns = self._lay_out(group, firsts, made)
        rights = {i: firsts[self.pairs[i].match.a.name][0] for i in owns}
        responses: dict[int, NDArray[np.float64]] = {}
        left = [i for i in owns if self._exceeds(i, rights[i], owns[i], None)]
        for draw in range(DRAWS if left else 0):
            feeds = {name: shake(forced[name], name, draw) for name in reads}
            shaken = self._lay_out(group, firsts, self._own.run(feeds, outputs))
            for i in shaken if not draw else left:
                found = measure_power(shaken[i], owns[i])
                responses[i] = (responses.get(i, 0) * draw + found) / (draw + 1)
            left = [i for i in left if self._exceeds(i, rights[i], owns[i], responses.get(i))]
            if not left:
                break
        for i, own in owns.items():
            self.sums[i].add_own(rights[i], own, self._allow(i, rights[i], responses.get(i)))

    def _allow(self, i: int, a: LayerValues, response: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return self.bounds[i].allow(measure_power(a), a[0].size if a.ndim > 1 else 1, response)

    def _exceeds(self, i: int, a: LayerValues, own: LayerValues, response: NDArray[np.float64] | None) -> bool:
        return bool((measure_power(a, own) > self._allow(i, a, response)).any())

    def _lay_out(
        self, group: Sequence[int], firsts: dict[str, LayerValues], made: dict[str, Any]
    ) -> dict[int, LayerValues]:
        """What B's segments made, as A lays it out, by pair."""
        found = {}
        for i in group:
            pair = self.pairs[i]
            raw = made.get(pair.match.b.tensor + OWN)
            if raw is None or pair.turn is None:
                continue
            value = read_first(raw, pair.match.b, self.b.pictures)
            turned = pair.turn.to_a(value, firsts[pair.match.a.name].shape)
            if turned is not None:
                found[i] = np.ascontiguousarray(turned[0])
        return found

    # --- at the end -----------------------------------------------------------------------------------------------

    def conclude(self, pictures: int) -> ModelDifference:
        """What was found."""
        self.pool.shutdown()
        if self.answers.note:
            self.notes.append(self.answers.note)
        layers = tuple(_conclude_pair(pair, sums) for pair, sums in zip(self.pairs, self.sums, strict=True))
        return ModelDifference(
            self.a.name, self.b.name, find_parted(layers), layers, tuple(x.name for x in self.matching.only_a),
            tuple(x.name for x in self.matching.only_b), self.answers.conclude(), pictures,
            tuple(dict.fromkeys(self.notes)),
        )  # fmt: skip


def _conclude_pair(pair: RunPair, sums: PairSums) -> LayerDifference:
    worst, worst_db = sums.drift.worst_channel() if sums.drift.signal.size else (0, -100.0)
    known = bool(sums.own.noise.size)
    excess = float(sums.excess.max(initial=0.0)) if known else None
    broken = bool(sums.broken)
    a, b = pair.match.a, pair.match.b
    return LayerDifference(
        layer=a.name, b_layer=b.name, tensor=a.tensor, b_tensor=b.tensor, kind=a.kind, matched=pair.match.how,
        a_shape=sums.a_shape, b_shape=sums.b_shape, sqnr_db=-100.0 if broken else sums.drift.layer_db,
        max_abs=float("inf") if broken else sums.max_abs, worst_channel=worst, worst_channel_db=worst_db,
        cka=sums.cka.value, own_db=sums.own.layer_db if known else None, began=sums.began if known else None,
        excess=excess, parted=broken or (excess is not None and excess > 1), channels_db=sums.drift.channels_db(),
        note=sums.broken,
    )  # fmt: skip


def to_first(side: Side, held: dict[str, NDArray[Any]], layers: Sequence[Layer]) -> dict[str, LayerValues]:
    """The values of layers for the first picture, float32 (1, C, ...), channels first, by name."""
    return {x.name: read_first(held[x.tensor], x, side.pictures) for x in layers}


def group_pairs(sizes: Sequence[int]) -> list[list[int]]:
    """Places of pairs in order, in groups of about STAGE_ELEMENTS, as far as sizes are known.

    There are no more groups than sessions are kept: else each picture would make them anew.
    """
    limit = max(STAGE_ELEMENTS, sum(sizes) // _MOST_STAGES)
    while len(groups := _fill_groups(sizes, limit)) > _MOST_STAGES:
        limit += limit // 8 + 1
    return groups


def _fill_groups(sizes: Sequence[int], limit: int) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    total = 0
    for i, size in enumerate(sizes):
        if groups[-1] and total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append(i)
        total += size
    return groups


def compare_sides(
    sides: ComparedSides,
    pictures: Iterable[tuple[str, ImageSource]],
    *,
    on_picture: Callable[[], None] = lambda: None,
    on_unreadable: Callable[[str, ImageError], object] | None = None,
) -> ModelDifference:
    """Compare two networks on pictures.

    Args:
        sides: The two.
        pictures: (name, what `open_image` takes) of each.
        on_picture: Called after each picture.
        on_unreadable: Called with the name of a picture that cannot be opened, and why; without it, that is the error.

    Raises:
        ImageError: A picture, or none of them, can be opened.
        ModelError: One of them cannot be run, or they have no layer in common.
    """
    done, problem = 0, None
    for name, source in pictures:
        try:
            picture = open_image(source, warn=sides.a.model.warn)
        except ImageError as error:
            problem = problem or error
            if on_unreadable is None:
                raise
            on_unreadable(name, error)
            continue
        sides.add(name, picture)
        done += 1
        on_picture()
    if not done:
        raise problem or ImageError("no pictures were given")
    return sides.conclude(done)
