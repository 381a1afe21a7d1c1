"""Planted faults are found in the layer that they were planted in; files that compute the same raise no alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import inspector
from inspector.comparing import ComparedSides, ModelDifference, Side, choose_runtime, compare_sides, use_model
from inspector.comparing.matching import find_nodes
from inspector.model import open_model
from tests.comparing import equals
from tests.comparing.networks import NAMES, make_network
from tests.comparing.plants import PLANTS
from tests.conftest import PHOTO

SEEDS = {"default": 2, "resnet": 7, "mobilenet_v3": 8, "densenet": 8, "yolo": 9, "resnet-int8": 10, "yolo-int8": 10}
"""Plants of each kind in each network."""


class Bench:
    """The networks, each made and opened once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.side = cache(lambda name: self.open(self.path(name)))
        self.path = cache(self._make)

    def _make(self, name: str, opset: int = 17, fold: bool = False) -> Path:
        plain, _, kind = name.partition("-")
        path = self.folder / f"{name}-{opset}-{fold}.onnx"
        if path.exists():
            return path
        if not kind:
            return make_network(plain, path, opset=opset, fold=fold)
        inspector.quantize(self._make(plain, fold=True), path, calibrate=PHOTO.parent, pictures=2)
        return path

    def open(self, path: Path, runtime: str = "") -> Side:
        return Side(open_model(path, threads=1), choose_runtime(runtime) if runtime else use_model, path.name)

    def compare(self, a: Side, b: Side) -> ModelDifference:
        return compare_sides(ComparedSides(a, b), [("photo", PHOTO)])

    def find(self, name: str, kind: str, seed: int) -> bool | None:
        """Whether a planted fault is found where it is; None where this network cannot have it."""
        model = onnx.load(str(self.path(name)))
        tensor = PLANTS[kind](model, np.random.default_rng(seed))
        if tensor is None:
            return None
        a = self.side(name)
        node = a.model.graph.producer_of[tensor]
        right = {x.layer.name for x in find_nodes(a.model.graph, a.layers) if node in x.nodes}
        path = self.folder / "planted.onnx"
        onnx.save(model, str(path))
        parted = self.compare(a, self.open(path)).parted
        return parted is not None and parted.layer in right


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("kind", [kind for kind in PLANTS if kind != "int8_scale"])
def test_a_planted_fault_is_found(bench: Bench, kind: str) -> None:
    found = bench.find("yolo", kind, 0)
    assert found or (found is None and kind == "clipped_activation")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_200_planted_faults_95_percent_are_found(bench: Bench, torch: object) -> None:
    found: dict[tuple[str, str, int], bool] = {}
    for name, count in SEEDS.items():
        for kind in PLANTS:
            if (kind == "int8_scale") != name.endswith("int8"):
                continue
            for seed in range(count):
                right = bench.find(name, kind, seed)
                if right is not None:
                    found[name, kind, seed] = right
    missed = [key for key, right in found.items() if not right]
    print(f"{len(found)} planted, {len(missed)} missed: {missed}")
    assert len(found) >= 200
    assert len({name for name, _, _ in found}) >= 5
    assert {kind for _, kind, _ in found} == set(PLANTS)
    assert len(missed) <= 0.05 * len(found), missed


def rewritten(bench: Bench, name: str) -> Iterator[tuple[str, Callable[[], tuple[Side, Side]]]]:
    """Pairs that compute the same: (what was done, the pair)."""

    def rewrite(label: str, *changes: equals.Rewrite, fold: bool = False) -> Callable[[], tuple[Side, Side]]:
        def make() -> tuple[Side, Side]:
            model = onnx.load(str(bench.path(name, 17, fold)))
            for change in changes:
                model = change(model)
            path = bench.folder / f"{name}-{label}.onnx"
            onnx.save(model, str(path))
            a, b = bench.side(name), bench.open(path)
            # The document inside is gone with the names.
            b.model = _with_preprocess(b, a)
            return a, b

        return make

    def file(path: Callable[[], Path]) -> Callable[[], tuple[Side, Side]]:
        return lambda: (bench.side(name), bench.open(path()))

    yield "renamed", rewrite("renamed", equals.rename)
    yield "renamed-1", rewrite("renamed-1", lambda model: equals.rename(model, 1))
    yield "channels-last", rewrite("channels-last", equals.put_channels_last)
    yield "both", rewrite("both", equals.put_channels_last, equals.rename)
    yield "same", rewrite("same")
    for level in ("basic", "extended", "all"):
        to = bench.folder / f"{name}-{level}.onnx"
        yield f"optimised-{level}", file(lambda level=level, to=to: equals.optimise(bench.path(name), to, level))
    if name in ("resnet", "mobilenet_v3", "densenet"):
        for opset in (13, 18, 20):
            yield f"opset-{opset}", file(lambda opset=opset: bench.path(name, opset, False))
        yield "folded", file(lambda: bench.path(name, 17, True))
        yield "folded-renamed", rewrite("folded-renamed", equals.rename, fold=True)
        yield "folded-last", rewrite("folded-last", equals.put_channels_last, equals.rename, fold=True)
    for first, second in (
        ("cpu", "disabled"), ("basic", "cpu"), ("extended", "disabled"), ("threads:1", "threads:2"),
        ("disabled", "basic"), ("cpu", "twin"), ("twin", "basic"), ("cpu", "extended"), ("disabled", "twin"),
    ):  # fmt: skip
        yield f"{first}-{second}", lambda first=first, second=second: (
            bench.open(bench.path(name), first), bench.open(bench.path(name), second))  # fmt: skip


def _with_preprocess(b: Side, a: Side) -> object:
    from dataclasses import replace

    layout = b.model.preprocess.layout
    return replace(b.model, preprocess=replace(a.model.preprocess, layout=layout))


@pytest.mark.parametrize("kind", ["renamed", "both", "optimised-all"])
def test_a_file_that_computes_the_same_does_not_part(bench: Bench, kind: str) -> None:
    found = bench.compare(*dict(rewritten(bench, "yolo"))[kind]())
    assert found.parted is None
    assert len(found.layers) >= 30 or kind.startswith("optimised")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100_equal_pairs_raise_no_alarm(bench: Bench, torch: object) -> None:
    done, alarms = 0, []
    for name in NAMES:
        for kind, make in rewritten(bench, name):
            found = bench.compare(*make())
            done += 1
            print(name, kind, len(found.layers), len(found.only_a), len(found.only_b), flush=True)
            if found.parted is not None:
                alarms.append((name, kind, found.parted.layer, found.parted.excess, found.parted.note))
    print(f"{done} pairs, {len(alarms)} alarms: {alarms}")
    assert done >= 100
    assert not alarms
