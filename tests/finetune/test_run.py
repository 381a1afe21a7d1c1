"""The five steps on the digits: what is frozen stays, the cache changes nothing, a kill changes nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exporters import finetuning
from exporters.finetuning import devices as sharing
from exporters.finetuning import folder as run_folder
from exporters.finetuning import phases as run_phases
from exporters.finetuning.cache import open_entry
from exporters.finetuning.features import StoredActivations
from exporters.finetuning.metrics import is_better, measure
from exporters.finetuning.network import TrainableNetwork, build_network
from exporters.finetuning.train import Trainer, TrainingError, draw_batches, schedule_rate, weigh_classes
from exporters.planning.boundary import place_boundary
from exporters.planning.entries import DataError
from exporters.planning.head import find_classifier_head
from exporters.planning.options import FineTuneOptions
from inspector import open_model
from inspector.errors import InspectorError, MissingExtra, NotComputable, OutputError, UsageError
from inspector.image import open_image
from inspector.twin import TwinUnsupported, build_twin
from tests.conftest import ROOT, require
from tests.finetune.conftest import small_base, write_digits

torch = require("torch")

QUICK: dict[str, Any] = {
    "head_epochs": 4, "joint_epochs": 3, "unfreeze_last": 2, "versions": 3, "batch": 16, "cache_dtype": "float32",
    "patience": 99, "joint_rate": 3e-3, "head_rate": 1e-2,
}  # fmt: skip


SHORT: dict[str, Any] = {"head_epochs": 1, "joint_epochs": 0, "versions": 1, "augment": ()}
"""Beside QUICK, where what is trained does not matter."""


def tune(data: Path, base: Path, run: Path, cache: Path, **more: Any) -> Any:
    return finetuning.finetune(data, base, run, cache=cache, **{**QUICK, **more})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def done(digits: Path, base: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tune(digits, base, tmp_path_factory.mktemp("runs") / "a", cache)


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def weights(path: Path) -> dict[str, np.ndarray]:
    graph = open_model(path).graph
    return {name: np.array(graph.weight(name)) for name in graph.initializers}


def test_the_run_folder_holds_what_it_promises(done: Any) -> None:
    names = {p.relative_to(done.run).as_posix() for p in done.run.rglob("*") if p.is_file()}
    mistakes = json.loads((done.run / "mistakes.json").read_text("utf-8"))
    assert len(mistakes) == round(24 * (1 - done.best["accuracy"]))
    assert names | {"worst.png"} == {
        "config.json", "plan.json", "plan.txt", "classes.txt", "splits.csv", "skipped.json", "base.onnx",
        "metrics.jsonl", "curves.png", "confusion.png", "mistakes.json", "worst.png", "model.onnx", "result.json",
        "checkpoints/last.safetensors", "checkpoints/last.json", "checkpoints/best.safetensors",
        "checkpoints/best.json",
    }  # fmt: skip
    assert [e["phase"] for e in metrics(done.run)] == ["head"] * 4 + ["joint"] * 3
    assert done.best["accuracy"] > 0.8
    assert (done.run / "splits.csv").read_text("utf-8").count(",val") == 24


def test_what_was_frozen_did_not_move_and_what_was_trained_did(done: Any) -> None:
    assert done.frozen_unchanged
    before, after = weights(done.run / "base.onnx"), weights(done.model)
    trained = {name for layer in done.plan.layers if layer.joint is not None for name in layer.weights}
    assert trained
    assert {n for n in before if not np.array_equal(before[n], after[n])} == trained
    assert set(before) - trained


def test_the_model_says_what_it_is(done: Any) -> None:
    model = open_model(done.model)
    assert model.assumed == ()
    assert model.labels == ("0", "1", "2")
    assert model.metadata.training["best"]["phase"] == done.best["phase"]
    assert sum(model.metadata.training["classes"].values()) == 96
    assert all(x.exposed for x in model.layers if x.spatial)
    assert str(done.run.parent) not in json.dumps(dict(model.metadata.training))
    assert done.parity
    assert all(row.max_abs <= 1e-3 * row.scale for row in done.parity)


def test_the_figures_are_those_of_the_file(done: Any, digits: Path) -> None:
    """Scores of model.onnx on the validation pictures from their files, by the inspector's own route."""
    model = open_model(done.model)
    with (done.run / "splits.csv").open(encoding="utf-8", newline="") as file:
        held = [(row["path"], row["label"]) for row in csv.DictReader(file) if row["split"] == "val"]
    scores = np.concatenate([model.scores(model.tensor(digits / path)) for path, _ in held])
    found = measure(scores, np.array([done.plan.classes.index(label) for _, label in held]))
    assert found.accuracy == done.best["accuracy"]
    assert found.loss == pytest.approx(done.best["loss"], rel=1e-4)


class ThroughTheBase(StoredActivations):
    """The same batches from the pictures themselves, through the whole frozen part, every time anew."""

    def batch(self, index: np.ndarray, version: np.ndarray) -> Any:
        from exporters.planning.augment import augment_image

        pictures = [
            self.prepare.tensor(augment_image(open_image(s.path), s.digest, int(v), self.kinds, 0))
            for s, v in ((self.samples[i], v) for i, v in zip(index, version, strict=True))
        ]
        with torch.no_grad():
            values = self.frozen(torch.from_numpy(np.concatenate(pictures)))
        return tuple(values[t] for t in self.tensors)


def test_cached_training_is_training_through_the_base(
    done: Any, digits: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frozen part here is the torch twin, run on the pictures at every step; the cached one is onnxruntime's."""
    real = run_phases.read_activations

    def through(entry: Any, tensors: Any, samples: Any, versions: int) -> Any:
        plain = real(entry, tensors, samples, versions)
        other = ThroughTheBase(plain.maps, plain.rows, plain.labels, plain.weights)
        model = open_model(tmp_path / "run" / "base.onnx")
        vars(other).update(
            samples=samples, tensors=tensors, prepare=model.preprocess, kinds=FineTuneOptions().augment,
            frozen=build_twin(model.graph, list(tensors)),
        )  # fmt: skip
        return other

    monkeypatch.setattr(run_phases, "read_activations", through)
    other = tune(digits, base, tmp_path / "run", tmp_path / "cache")
    for ours, theirs in zip(metrics(done.run), metrics(other.run), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["accuracy"] == theirs["accuracy"]
    a, b = weights(done.model), weights(other.model)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=2e-3 * np.abs(a[name]).max() + 1e-12)


def test_half_precision_in_the_cache_changes_little(done: Any, digits: Path, base: Path, tmp_path: Path) -> None:
    other = tune(digits, base, tmp_path / "run", tmp_path / "cache", cache_dtype="float16")
    assert other.best["loss"] == pytest.approx(done.best["loss"], rel=0.02)


def test_the_second_run_computes_nothing_that_is_frozen(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    again = finetuning.finetune(digits, base, tmp_path / "run", cache=cache, note=said.append, **QUICK)
    assert any(" 0 computed, 312 were there" in line for line in said)
    assert metrics(again.run) == metrics(done.run)
    assert again.sha256 == done.sha256
    for more in ({"versions": 2}, {"seed": 1}):
        said.clear()
        finetuning.finetune(digits, base, tmp_path / str(more), cache=cache, note=said.append, **{**QUICK, **more})
        assert any(" computed, " in line and " 312 computed" not in line for line in said)


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    class Killed(BaseException):
        pass

    real = Trainer._epoch

    def epoch(self: Any, *given: Any) -> Any:
        if len(self.state.history) == stop:
            raise Killed
        return real(self, *given)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    with pytest.raises(Killed):
        tune(digits, base, tmp_path / "run", cache)
    monkeypatch.undo()
    assert len(metrics(tmp_path / "run")) == stop
    again = tune(digits, base, tmp_path / "run", cache, resume=True)
    assert metrics(again.run) == metrics(done.run)
    assert again.sha256 == done.sha256
    once_more = tune(digits, base, tmp_path / "run", cache, resume=True)
    assert once_more.best == again.best


@pytest.mark.slow
def test_a_process_killed_at_any_moment_goes_on(done: Any, digits: Path, base: Path, tmp_path: Path) -> None:
    """SIGKILL in the cache, in the training or at its end: what it hits is up to the clock."""
    options = json.dumps(QUICK)
    code = (
        "import json, sys, torch; from exporters import finetuning; torch.set_num_threads(1);"
        "data, base, run, cache = sys.argv[1:5];"
        "import os; from pathlib import Path;"
        f"finetuning.finetune(data, base, run, cache=cache, resume=(Path(run) / 'config.json').exists(), **{QUICK!r})"
    )
    assert options
    run, cache = tmp_path / "run", tmp_path / "cache"
    command = [sys.executable, "-c", code, *map(str, (digits, base, run, cache))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for wait in (0.0, 0.4):
        child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        marks = (cache, run / "checkpoints" / "last.safetensors")
        while not marks[wait > 0].exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert metrics(run) == metrics(done.run)
    assert open_model(run / "model.onnx").sha256 == done.sha256


def test_a_resume_with_other_arguments_is_refused(done: Any, digits: Path, base: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"joint_rate 0.001 instead of 0.003"):
        tune(digits, base, done.run, cache, resume=True, joint_rate=1e-3)
    with pytest.raises(UsageError, match=r"base other\.onnx instead of"):
        tune(digits, Path("other.onnx"), done.run, cache, resume=True)
    with pytest.raises(OutputError, match=r"holds a run already; --resume goes on with it"):
        tune(digits, base, done.run, cache)
    with pytest.raises(UsageError, match=r"no run in .* to resume"):
        tune(digits, base, done.run.parent / "none", cache, resume=True)


def test_a_start_that_was_killed_is_begun_again(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "describe_versions", killed)
    with pytest.raises(KeyboardInterrupt):
        tune(digits, base, tmp_path / "run", cache)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="holds a run already; --resume goes on with it"):
        tune(digits, base, tmp_path / "run", cache)
    assert tune(digits, base, tmp_path / "run", cache, resume=True).sha256 == done.sha256
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty; give a new folder"):
        tune(digits, base, tmp_path / "other", cache)


@pytest.mark.parametrize("kind", ["batch", "softmax", "channels last"])
def test_foreign_bases(digits: Path, cache: Path, tmp_path: Path, kind: str) -> None:
    """A batch fixed to one, probabilities instead of scores, pictures with the channels last."""
    if kind == "channels last":
        from tests.foreign import Net

        net = Net()
        x = net("Transpose", net.input("x", ("N", 16, 16, 3)), perm=[0, 3, 1, 2])
        maps = net("Relu", net.conv(net("Relu", net.conv(x, 3, 8)), 8, 8))
        flat = net("Flatten", net("AveragePool", maps, kernel_shape=[4, 4], strides=[4, 4]))
        model = net.model(net("MatMul", flat, net.weight((128, 7))))
        (tmp_path / "base.onnx").write_bytes(model.SerializeToString())
        base = tmp_path / "base.onnx"
    else:
        base = small_base(tmp_path / "base.onnx", softmax=kind == "softmax", batch=1 if kind == "batch" else "N")
    made = tune(digits, base, tmp_path / "run", cache, joint_epochs=2, unfreeze_last=1)
    assert made.frozen_unchanged
    model = open_model(made.model)
    rows = [model.predict(p)[0] for p in sorted((digits / "1").iterdir())[:20]]
    assert [r.label for r in rows].count("1") > 14
    assert all(0 <= r.probability <= 1 for r in rows)


@pytest.mark.parametrize("finished", [True, False])
def test_a_resume_with_other_pictures_is_refused(base: Path, cache: Path, tmp_path: Path, finished: bool) -> None:
    data = write_digits(tmp_path / "data", 60, classes=3)
    made = tune(data, base, tmp_path / "run", cache, **SHORT)
    if not finished:
        (made.run / "result.json").unlink()
    with pytest.raises(DataError, match="there is no folder or CSV"):
        tune(tmp_path / "nowhere", base, made.run, cache, resume=True, **SHORT)
    next((data / "1").iterdir()).unlink()
    with pytest.raises(UsageError, match="other pictures, labels or splits"):
        tune(data, base, made.run, cache, resume=True, **SHORT)


@pytest.mark.parametrize("harm", ["removed", "changed"])
def test_a_model_that_is_not_there_any_more_is_written_again(
    digits: Path, base: Path, cache: Path, tmp_path: Path, harm: str
) -> None:
    made = tune(digits, base, tmp_path / "run", cache, **SHORT)
    if harm == "removed":
        made.model.unlink()
    else:
        made.model.write_bytes(made.model.read_bytes()[:-1])
    said: list[str] = []
    again = tune(digits, base, made.run, cache, resume=True, note=said.append, **SHORT)
    assert any("is not what the run wrote: it is written again from the checkpoints" in line for line in said)
    assert open_model(again.model).sha256 == again.sha256 == made.sha256
    assert again.frozen_unchanged


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.json", "{}", "does not say what was run; start the run again"),
        ("config.json", "[]", "does not say what was run; start the run again"),
        ("config.json", '{"options": 1, "base": "", "data": ""}', "does not say what was run; start the run again"),
        ("config.json", "{", "cannot be read"),
        ("result.json", "{}", "it has no 'best'; remove it, and --resume writes it again"),
        ("result.json", "[]", "is damaged: .*; remove it, and --resume writes it again"),
        ("result.json", '{"best": 1}', "is damaged: .*; remove it"),
        ("plan.json", "{}", "it has no 'layers'; start the run again in a new folder"),
        ("plan.json", "[1]", "is damaged"),
    ],
)
def test_a_damaged_run_folder_is_said(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path, name: str, text: str, said: str
) -> None:
    run = shutil.copytree(done.run, tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(UsageError, match=said):
        tune(digits, base, run, cache, resume=True)


def test_an_option_that_the_run_does_not_name_had_its_default(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(done.run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text("utf-8"))
    del config["options"]["mixup"]
    (run / "config.json").write_text(json.dumps(config))
    assert tune(digits, base, run, cache, resume=True).sha256 == done.sha256
    with pytest.raises(UsageError, match=r"mixup 0\.4 instead of 0\.0"):
        tune(digits, base, run, cache, resume=True, mixup=0.4)
    config["options"]["later"] = 1
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="later None instead of 1"):
        tune(digits, base, run, cache, resume=True)


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        ("safetensors.torch", {}, r'pip install -e ".*\[torch\]"'),
        ("lightning_fabric", {"devices": 2}, r'pip install -e ".*\[fabric\]"'),
        ("torch.utils.tensorboard", {"tensorboard": True}, r'pip install -e ".*\[tensorboard\]"'),
    ],
)
def test_what_is_not_installed_is_said_before_anything_is_written(
    digits: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    module: str, more: dict[str, Any], said: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=said):
        tune(digits, base, tmp_path / "run", tmp_path / "cache", **more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_limit_of_the_cache_is_a_number_above_zero(digits: Path, base: Path, tmp_path: Path, limit: float) -> None:
    with pytest.raises(UsageError, match=r"the cache limit .* is not a number above 0; gigabytes, 20 by default"):
        tune(digits, base, tmp_path / "run", tmp_path / "cache", cache_limit=limit)
    assert not list(tmp_path.iterdir())


def test_another_run_leaves_what_this_one_reads(
    digits: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first epoch on the cache is not filled any more, and a greedy run comes by."""
    cache, real, seen = tmp_path / "cache", Trainer._epoch, []

    def epoch(self: Any, *given: Any) -> Any:
        seen.append({f.name for f in cache.iterdir()})
        with open_entry(cache, {"greedy": 1}, (), [], 1e-9, lambda line: None):
            pass
        return real(self, *given)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    tune(digits, base, tmp_path / "run", cache)
    assert len(seen) == 7
    assert all(names >= seen[0] for names in seen)
    with open_entry(cache, {"greedy": 1}, (), [], 1e-9, lambda line: None):
        assert len(list(cache.iterdir())) == 1


def test_a_joint_phase_that_ruins_everything_is_not_shipped(
    digits: Path, base: Path, cache: Path, tmp_path: Path
) -> None:
    made = tune(digits, base, tmp_path / "run", cache, joint_rate=10.0, head_epochs=6)
    assert made.best["phase"] == "head"
    assert "the joint phase did not beat the head alone: the head's model is the result" in made.notes
    before, after = weights(made.run / "base.onnx"), weights(made.model)
    head = {name for layer in made.plan.layers if layer.head is not None for name in layer.weights}
    assert {n for n in before if not np.array_equal(before[n], after[n])} == head


def test_norms_in_the_graph_keep_their_statistics(digits: Path, cache: Path, tmp_path: Path) -> None:
    base = small_base(tmp_path / "base.onnx", norm=True)
    made = tune(digits, base, tmp_path / "run", cache, joint_epochs=2)
    assert made.frozen_unchanged
    assert "1 batch norms, all in inference mode" in made.plan.norms
    model = open_model(made.model)
    [norm] = [n for n in model.graph.nodes if n.op_type == "BatchNormalization"]
    before, after = weights(made.run / "base.onnx"), weights(made.model)
    same = [np.array_equal(before[n], after[n]) for n in norm.input[1:]]
    assert same == [False, False, True, True]


def test_test_pictures_are_judged_by_the_file(digits: Path, base: Path, cache: Path, tmp_path: Path) -> None:
    made = tune(digits, base, tmp_path / "run", cache, test=0.25, joint_epochs=0)
    assert sum(map(sum, made.test["confusion"])) == 30
    assert made.test["accuracy"] > 0.7
    assert made.plan.boundary is None


@pytest.mark.parametrize(
    "more",
    [{"balance": "sampling"}, {"balance": "none"}, {"schedule": "cosine"}, {"mixup": 0.4}, {"average": 0.9},
     {"select": "loss"}, {"augment": ()}, {"dropout": 0.0}, {"precision": "bfloat16"}, {"label_smoothing": 0.0},
     {"weight_decay": 1.0}],
)  # fmt: skip
def test_every_choice_learns(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    """And none is ignored: the weights are others than without it."""
    if more == {"balance": "none"}:  # on classes of one size the same as weights of the classes
        digits = write_digits(tmp_path / "data", 120, classes=3)
        for picture in sorted((digits / "1").iterdir())[:20]:
            picture.unlink()
        done = tune(digits, base, tmp_path / "done", cache)
    made = tune(digits, base, tmp_path / "run", cache, **more)
    assert made.best["accuracy"] > 0.7
    assert made.frozen_unchanged
    if "select" in more:
        assert made.best["loss"] == min(e["loss"] for e in metrics(made.run))
        return
    [head] = [x for x in made.plan.layers if x.head is not None]
    default, own = weights(done.model), weights(made.model)
    assert not np.array_equal(default[head.weights[0]], own[head.weights[0]])


def test_the_average_is_that_of_the_weights_after_every_step(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is evaluated, kept and shipped, against one made by hand in float64."""
    steps: list[dict[str, np.ndarray]] = []
    real_step, real_evaluate, ends = torch.optim.AdamW.step, Trainer.evaluate, []

    def step(self: Any, *given: Any) -> Any:
        found = real_step(self, *given)
        if len(holder[0].phases) > 1 and holder[0].state.phase == 1:
            state = holder[0].phases[1].network.state()
            steps.append({name: value.double().cpu().numpy() for name, value in state.items()})
        return found

    def evaluate(self: Any, *given: Any) -> Any:
        ends.append(len(steps))
        return real_evaluate(self, *given)

    holder: list[Any] = []
    real_run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, resume=False: (holder.append(self), real_run(self, resume))[1])
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    made = tune(digits, base, tmp_path / "run", cache, average=0.8, joint_epochs=4, select="loss", joint_rate=1e-2)
    assert made.best["phase"] == "joint"
    joint = [e["epoch"] for e in metrics(made.run) if e["phase"] == "joint"]
    assert len(steps) == 6 * len(joint)
    # Before the phase: the base, and the head that the first phase ended with as its best.
    monkeypatch.undo()
    alone = tune(digits, base, tmp_path / "alone", cache, select="loss", joint_epochs=0)
    start = weights(made.run / "base.onnx") | {
        n: w for n, w in weights(alone.model).items() if n in alone.plan.trained("head")
    }
    average = {name: start[name].astype(np.float64) for name in steps[0]}
    for number, state in enumerate(steps[: ends[4 + made.best["epoch"] - 1]]):
        decay = min(0.8, (1 + number) / (10 + number))
        average = {name: decay * value + (1 - decay) * state[name] for name, value in average.items()}
    shipped = weights(made.model)
    for name, value in average.items():
        np.testing.assert_allclose(shipped[name], value, rtol=1e-5, atol=1e-6)
    assert any(not np.allclose(shipped[name], steps[-1][name], rtol=1e-3) for name in average)


@pytest.mark.parametrize(
    ("losses", "more", "epochs", "best"),
    [
        # Two epochs without a new best of the phase end it; the joint phase has its own best to beat.
        ([1.0, 0.9, 0.95, 0.95, 2.0, 1.9, 1.95, 1.95], {"patience": 2}, (4, 4), ("head", 2)),
        (
            [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
            {"patience": 1, "head_epochs": 3, "joint_epochs": 4},
            (3, 4),
            ("joint", 4),
        ),
        # Half of the epochs, and at least five, unless given.
        ([1.0] * 40, {"patience": None, "head_epochs": 12, "joint_epochs": 8}, (7, 6), ("head", 1)),
    ],
)
def test_a_phase_ends_when_nothing_better_comes(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    losses: list[float], more: dict[str, Any], epochs: tuple[int, int], best: tuple[str, int],
) -> None:  # fmt: skip
    real, left = Trainer.evaluate, iter(losses)
    monkeypatch.setattr(Trainer, "evaluate", lambda self, *given: replace(real(self, *given), loss=next(left)))
    settings = {"head_epochs": 9, "joint_epochs": 9, "versions": 1, "augment": (), "select": "loss", **more}
    made = tune(digits, base, tmp_path / "run", cache, **settings)
    done = [e["phase"] for e in metrics(made.run)]
    assert (done.count("head"), done.count("joint")) == epochs
    assert (made.best["phase"], made.best["epoch"]) == best


def test_rates_of_the_tensors(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head's own in its phase; in the joint one relative to the weights at the start, lower for earlier layers."""
    real, made_by = Trainer._optimiser, {}

    def optimiser(self: Any, phase: Any) -> Any:
        made_by[phase.name] = (phase, real(self, phase))
        return made_by[phase.name][1]

    monkeypatch.setattr(Trainer, "_optimiser", optimiser)
    made = tune(digits, base, tmp_path / "run", cache, schedule="cosine", weight_decay=0.3)
    start = weights(made.run / "base.onnx")
    for name, epochs, rate in (("head", 4, 1e-2), ("joint", 3, 3e-3)):
        phase, used = made_by[name]
        names = {id(p): n for n, p in phase.network.trained().items()}
        group_of = {names[id(p)]: group for group in used.param_groups for p in group["params"]}
        assert set(group_of) == made.plan.trained(name)
        last = (epochs - 1 + 5 / 6) / epochs  # of 96 pictures in steps of 16
        for tensor, group in group_of.items():
            value = start[tensor].astype(np.float64)
            share = 1.0
            if name == "joint":
                [planned] = [x.joint for x in made.plan.layers if tensor in x.weights]
                share = planned / rate * max(np.sqrt((value**2).mean()), 1e-3) * (1 if value.ndim > 1 else 0.1)
            assert group["lr"] == pytest.approx(rate * share * 0.5 * (1 + np.cos(np.pi * last)), rel=1e-6)
            assert group["weight_decay"] == (0.3 if value.ndim > 1 else 0)


def test_a_run_with_everything_random_goes_on_as_well(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Average, mixup, sampling and dropout: what they draw and carry along is that of a run that was not stopped."""
    more = {"average": 0.9, "mixup": 0.4, "balance": "sampling"}
    whole = tune(digits, base, tmp_path / "whole", cache, **more)
    real = Trainer._epoch

    def epoch(self: Any, *given: Any) -> Any:
        if len(self.state.history) == 6:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(Trainer, "_epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        tune(digits, base, tmp_path / "run", cache, **more)
    monkeypatch.undo()
    again = tune(digits, base, tmp_path / "run", cache, resume=True, **more)
    assert metrics(again.run) == metrics(whole.run)
    assert again.sha256 == whole.sha256


def test_a_frozen_weight_that_moves_is_found(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the plan says, and not by what was written."""
    real = TrainableNetwork.arrays
    made = tune(digits, base, tmp_path / "good", cache, **SHORT)
    assert made.frozen_unchanged
    for digests in made.frozen.values():
        assert digests["before"] == digests["after"]
        assert len(digests["before"]) == 64
    assert json.loads((made.run / "result.json").read_text("utf-8"))["frozen"] == made.frozen
    frozen = next(name for x in made.plan.layers if x.head is None for name in x.weights)
    value = weights(made.run / "base.onnx")[frozen]
    monkeypatch.setattr(TrainableNetwork, "arrays", lambda self: real(self) | {frozen: value * np.float32(1 + 1e-6)})
    bad = tune(digits, base, tmp_path / "bad", cache, **SHORT)
    assert not bad.frozen_unchanged
    assert bad.frozen["file"]["before"] == made.frozen["file"]["before"] != bad.frozen["file"]["after"]
    assert bad.frozen["head"] == made.frozen["head"]
    from inspector.cli.finetune import show

    assert f"did not move: SHA-256 {made.frozen['file']['after'][:12]} before and after" in show(made)
    assert f"MOVED: do not use this model; file: SHA-256 {bad.frozen['file']['before'][:12]}, now" in show(bad)


def test_of_several_processes_one_that_moved_something_is_enough() -> None:
    phases: Any = [SimpleNamespace(name="head"), SimpleNamespace(name="joint")]
    found = run_phases.compare_digests(phases, ["a", "b"], [["a", "b"], ["a", "c"], ["a", "b"]])
    assert found == {"head": {"before": "a", "after": "a"}, "joint": {"before": "b", "after": "c"}}


def test_a_file_is_named_without_its_folder_whatever_its_ending(
    digits: Path, base: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "some: where").mkdir()
    bare = shutil.copy(base, tmp_path / "some: where" / "pretrained")
    made = tune(digits, bare, tmp_path / "run", cache, **SHORT)
    assert open_model(made.model).metadata.training["base"] == "pretrained"


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"mixup": 0.4}])
def test_weights_of_pictures(digits: Path, base: Path, cache: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    """Twice the weight for all is no change; none to speak of for one class, and it is not learned."""
    files = sorted(digits.rglob("*.png"))

    def table(name: str, weight: Any) -> Path:
        rows = [f"{f},{f.parent.name},{weight(f.parent.name)}" for f in files]
        (tmp_path / name).write_text("\n".join(["path,label,weight", *rows]), "utf-8")
        return tmp_path / name

    settings = {"balance": "none", "val": 0.3, **more}
    once, twice, without = (
        tune(table(f"{k}.csv", weight), base, tmp_path / str(k), cache, **settings)
        for k, weight in enumerate((lambda c: 1, lambda c: 2, lambda c: 1e-4 if c == "1" else 1))
    )
    assert metrics(tmp_path / "0") == metrics(tmp_path / "1")
    for before, after in zip(weights(once.model).values(), weights(twice.model).values(), strict=True):
        np.testing.assert_array_equal(before, after)
    place = once.plan.classes.index("1")
    assert once.best["recall"][place] > 0.5
    assert without.best["recall"][place] < 0.2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"batch": 0}, "batch 0 is out of range"),
        ({"val": 0.8, "test": 0.5}, "leave nothing to train on"),
        ({"balance": "none?"}, "there is no balance 'none\\?'; known: weights, sampling, none"),
        ({"augment": ("flip",)}, "there is no augmentation 'flip'"),
        ({"joint_rates": 1}, "there is no option 'joint_rates'; nearest: joint_rate"),
        ({"unfreeze_from": "x", "unfreeze_last": 2}, "both --unfreeze-from and --unfreeze-last"),
    ],
)
def test_options_out_of_range(digits: Path, base: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        finetuning.finetune(digits, base, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_a_base_that_cannot_be_tuned_writes_nothing(digits: Path, tmp_path: Path, photo: Path) -> None:
    for bad in (photo, tmp_path / "none.onnx"):
        with pytest.raises(InspectorError):
            finetuning.finetune(digits, bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_torch_module_is_a_base_too(digits: Path, cache: Path, tmp_path: Path) -> None:
    """And its weights are among the arguments that a resume is compared with."""
    from safetensors.torch import save_file

    from tests.exporters.nets import tiny

    def give(more: float) -> str:
        state = tiny().state_dict()
        state["head.bias"] += more
        save_file(state, tmp_path / "w.safetensors")
        return str(tmp_path / "w.safetensors")

    spec: Any = "tests.exporters.nets:tiny"
    made = tune(digits, spec, tmp_path / "run", cache, size=(32, 32), weights=give(0))
    model = open_model(made.model)
    assert model.preprocess.size == (32, 32)
    assert model.metadata.training["base"] == spec
    assert "block.conv1" in [x.name for x in model.layers]
    assert made.frozen_unchanged
    assert str(tmp_path) not in (made.run / "config.json").read_text("utf-8")
    resumed: dict[str, Any] = {"size": (32, 32), "resume": True}
    assert tune(digits, spec, made.run, cache, weights=give(0), **resumed).sha256 == made.sha256
    with pytest.raises(UsageError, match="other arguments: with --pretrained"):
        tune(digits, spec, made.run, cache, weights=give(0), pretrained=True, **resumed)
    for other in (None, give(1), str(tmp_path / "none")):
        with pytest.raises(UsageError, match="other arguments: other --weights"):
            tune(digits, spec, made.run, cache, weights=other, **resumed)


def test_the_run_and_a_checkpoint_export_again(done: Any, tmp_path: Path) -> None:
    whole = finetuning.export_run(done.run, tmp_path / "a.onnx")
    assert whole.sha256 == done.sha256
    last = finetuning.export_run(done.run / "checkpoints" / "last.safetensors", tmp_path / "b.onnx")
    assert last.labels == ("0", "1", "2")
    with pytest.raises(InspectorError, match="there is no checkpoint"):
        finetuning.export_run(tmp_path, tmp_path / "c.onnx")


def test_the_plan_is_made_without_training(digits: Path, base: Path, tmp_path: Path) -> None:
    plan, dataset = finetuning.plan_finetune(digits, base, **QUICK)
    assert [x.joint is not None for x in plan.layers] == [False, True, True, True]
    assert [x.head is not None for x in plan.layers] == [False, False, False, True]
    assert plan.layers[1].joint == pytest.approx(3e-3 * 0.3)
    assert plan.layers[2].joint == pytest.approx(3e-3 * 0.3**0.5)
    assert plan.layers[3].joint == pytest.approx(3e-3)
    text = plan.text()
    for part in ("1 new head", "2 base frozen", "3 head trained", "4 unfrozen", "5 joint training", "frozen", "96 pic"):
        assert part in text
    assert len(dataset.train) == 96


def test_weights_shared_with_the_frozen_part_stay_frozen(tmp_path: Path) -> None:
    from tests.foreign import Net

    net = Net()
    x = net.input("x", ("N", 3, 16, 16))
    kernel, a = net.weight((8, 8, 3, 3), "shared"), net("Relu", net.conv(x, 3, 8))
    for _ in range(2):
        a = net("Relu", net("Conv", a, kernel, kernel_shape=[3, 3], pads=[1] * 4))
    pooled = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(a, 8, 8))))
    (tmp_path / "m.onnx").write_bytes(net.model(net("Gemm", pooled, net.weight((8, 7)))).SerializeToString())
    model = open_model(tmp_path / "m.onnx")
    head = find_classifier_head(model)
    network = build_network(model.graph, head, place_boundary(model, head, unfreeze_last=2), (1, 3, 16, 16), 0.0)
    assert "shared" not in network.trained()
    assert len(network.trained()) == 3


# --- the parts --------------------------------------------------------------------------------------------------------


def test_measure_against_scikit_learn() -> None:
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss

    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((200, 4)) * 3, rng.integers(0, 4, 200)
    found = measure(scores, labels)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert found.loss == pytest.approx(log_loss(labels, chances))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)))
    assert np.array_equal(found.confusion, confusion_matrix(labels, scores.argmax(1)))
    assert measure(scores[:, :3][labels < 2], labels[labels < 2]).recall[2] is None


def test_better() -> None:
    one, other = {"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 2.0}
    assert is_better(one, other, "accuracy")
    assert not is_better(other, one, "accuracy")
    assert not is_better(one, one, "loss")
    assert is_better(one, None, "loss")


def test_schedules() -> None:
    steps = np.arange(100) / 100
    cycle = [schedule_rate("onecycle", s) for s in steps]
    assert cycle[0] == pytest.approx(0.04)
    assert max(cycle) == pytest.approx(1)
    assert np.argmax(cycle) == 25
    assert cycle[-1] < 0.01
    assert np.all(np.diff([schedule_rate("cosine", s) for s in steps]) < 0)


def test_batches_cover_every_picture_once_and_sampling_evens_classes_out() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    batches = list(draw_batches(labels, 4, 2, FineTuneOptions(batch=32), 0, 3))
    assert sorted(np.concatenate([i for i, _ in batches])) == list(range(100))
    assert {int(v) for _, versions in batches for v in versions} == {0, 1, 2, 3}
    many = [
        labels[i]
        for e in range(40)
        for i, _ in draw_batches(labels, 1, 2, FineTuneOptions(batch=100, balance="sampling"), 0, e)
    ]
    assert 0.45 < np.mean(many) < 0.55
    assert weigh_classes(labels, 2) == pytest.approx([100 / 180, 5])


def test_a_quantised_base_is_refused(make_model: Any, digits: Path, tmp_path: Path) -> None:
    def build(net: Any, x: str) -> str:
        integers = net.const(np.random.default_rng(0).integers(-9, 9, (8, 3, 3, 3)).astype(np.int8))
        weight = net("DequantizeLinear", integers, net.const(np.float32(0.1)), net.const(np.int8(0)))
        maps = net("Relu", net("Conv", x, weight, kernel_shape=[3, 3], pads=[1] * 4))
        return net("Gemm", net("Flatten", net("GlobalAveragePool", maps)), net.weight((8, 7)))

    model = open_model(make_model(build, shape=("N", 3, 16, 16)))
    head = find_classifier_head(model)
    with pytest.raises((NotComputable, UsageError)):
        build_network(model.graph, head, place_boundary(model, head, unfreeze_last=1), (1, 3, 16, 16), 0.0)


def test_the_lock_keeps_two_runs_apart(tmp_path: Path) -> None:
    with open_entry(tmp_path, {}, (), (), 1.0, lambda line: None) as entry:
        code = (
            "import sys; from exporters.finetuning.cache import open_entry; from pathlib import Path\n"
            "with open_entry(Path(sys.argv[1]), {}, (), (), 1.0, print): print('in', flush=True)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        time.sleep(1.5)
        assert child.poll() is None
        assert entry.folder.exists()
    assert child.communicate(timeout=60)[0] == b"in\n"


@pytest.mark.slow
def test_two_processes_train_what_one_does(
    done: Any, digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("lightning_fabric")
    # In a process of its own: the children of this one would import pytest's state.
    code = (
        "import sys\nfrom exporters import finetuning\n"
        "if __name__ == '__main__':\n"
        "    data, base, run, cache = sys.argv[1:5]\n"
        f"    finetuning.finetune(data, base, run, cache=cache, **{QUICK | {'dropout': 0.0, 'devices': 2}!r})\n"
    )
    script = tmp_path / "two.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(script), *map(str, (digits, base, tmp_path / "two", cache))]
    ran = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    tune(digits, base, tmp_path / "one", cache, dropout=0.0)
    for ours, theirs in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        assert ours["accuracy"] == theirs["accuracy"]
        # Equal figures on 24 pictures: each was counted once, by one of the two.
        assert ours["recall"] == theirs["recall"]
    two, one = (json.loads((tmp_path / name / "result.json").read_text("utf-8")) for name in ("two", "one"))
    assert two["frozen_unchanged"]
    assert two["frozen"] == one["frozen"]
    assert set(two["frozen"]) == {"file", "head", "joint"}
    assert not ran.stderr


def test_an_error_in_a_process_is_the_error_of_the_run(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher stands in for Fabric's, which tells of it by a traceback as the text of an error of its own."""

    class Launcher:
        global_rank = world_size = 1

        def __init__(self, **given: Any) -> None:
            assert given == {"accelerator": "cpu", "devices": 2, "strategy": "ddp_spawn"}

        def launch(self, work: Any, *given: Any) -> None:
            try:
                work(self, *given)
            except Exception as error:
                raise RuntimeError("-- Process 1 terminated with the following error:") from error

    def run(error: Exception) -> Any:
        def fail(fabric: Any, work: bytes) -> None:
            raise error

        monkeypatch.setattr(sharing, "check_devices", lambda count, device: Launcher)
        monkeypatch.setattr(sharing, "_train", fail)
        return tune(digits, base, tmp_path / type(error).__name__, cache, devices=2)

    with pytest.raises(TrainingError, match="the loss became nan; give a lower rate") as found:
        run(TrainingError("the loss became nan", "give a lower rate"))
    assert (found.value.message, found.value.hint) == ("the loss became nan", "give a lower rate")
    with pytest.raises(TwinUnsupported, match="the twin cannot compute"):
        run(TwinUnsupported([], ["scores"]))
    with pytest.raises(RuntimeError, match="Process 1 terminated"):
        run(ValueError("one of ours"))


def test_event_files_are_written_where_they_are_asked_for(
    digits: Path, base: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        made = finetuning.finetune(digits, base, tmp_path / "run", cache=cache, tensorboard=True, **QUICK)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(made.run / "tensorboard"))
        events.Reload()
    assert [e.value for e in events.Scalars("head/accuracy")] == pytest.approx(
        [e["accuracy"] for e in metrics(made.run) if e["phase"] == "head"]
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r'pip install -e ".*\[tensorboard\]"'):
        finetuning.finetune(digits, base, tmp_path / "none", cache=cache, tensorboard=True, **QUICK)
    assert not (tmp_path / "none").exists()


def test_no_run_begins_that_would_write_onto_what_it_reads(base: Path, tmp_path: Path) -> None:
    """It is said before a picture is read, and nothing is there afterwards that was not before."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(base, run / "base.onnx")  # all that a run holds that was stopped at once
    with pytest.raises(UsageError, match=r"base\.onnx is an input; give another folder to write to"):
        finetuning.finetune(tmp_path / "no data", run / "base.onnx", run, resume=True)
    (run / "base.onnx").rename(run / "splits.csv")
    with pytest.raises(UsageError, match=r"splits\.csv is an input; give another folder to write to"):
        finetuning.finetune(run / "splits.csv", base, run, resume=True)
    (tmp_path / "file").write_text("")
    for folder, said in ((tmp_path / "file" / "run", "file is a file; give a new folder"), ("a\0b", "is not a path")):
        with pytest.raises(OutputError, match=said):
            finetuning.finetune(tmp_path / "no data", base, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]
