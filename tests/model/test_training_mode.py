"""A file in training mode answers for a batch, not for a picture: every command says so in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from inspector import open_model
from inspector.cli.app import run
from inspector.graph import read_graph, to_inference
from inspector.runtime import Sessions
from tests.cam.nets import CHANNELS, CLASSES, node, normal, picture, save_net, trunk
from tests.conftest import MakeModel, require
from tests.foreign import Net

LINE = "m.onnx was exported in training mode: BatchNormalization 'head/n' takes the statistics of each batch"


def save(path: Path, training: int) -> Path:
    rng = np.random.default_rng(7)
    nodes, weights = trunk(rng)
    weights |= {
        "s": np.abs(normal(rng, CHANNELS)) + 1,
        "o": normal(rng, CHANNELS),
        "mean": normal(rng, CHANNELS),
        "var": np.abs(normal(rng, CHANNELS)) + 1,
        "w": normal(rng, CLASSES, CHANNELS),
        "b": normal(rng, CLASSES),
    }
    norm = node("BatchNormalization", "maps s o mean var", "n", training_mode=training)
    if training:
        norm.output.extend(["m", "v"])
    nodes += [
        norm,
        node("Relu", "n", "r"),
        node("GlobalAveragePool", "r", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat w b", "logits", transB=1),
    ]
    return save_net(path, nodes, weights, outputs={"logits": ["N", CLASSES]})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "m.onnx", 1)
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        for i in range(4):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "layers m.onnx",
        "predict m.onnx data/a/0.png",
        "activations m.onnx data/a/0.png -o out",
        "cam m.onnx data/a/0.png -o out",
        "annotate m.onnx -o o.onnx --labels data/labels.txt",
        "audit m.onnx",
        "report m.onnx data/a/0.png -o r.html",
        "quantize m.onnx -o q.onnx --calibrate data",
        "filters m.onnx --layer relu --channels 0 -o out --steps 2",
        "dream m.onnx data/a/0.png --layer relu -o d.png --steps 1 --octaves 1",
        "finetune data --base m.onnx --dry-run -o run",
    ],
)
def test_every_command_says_it(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data" / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    if command.split()[0] in ("filters", "dream", "finetune"):
        require("torch")
    run(command.split())
    shown = capsys.readouterr()
    assert " ".join(shown.err.split()).count(LINE) == 1, shown


def test_documents_say_it_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with --quiet, which keeps the line from stderr."""
    save(here / "plain.onnx", 0)
    for command in ("layers", "predict"):
        for name, training in (("m.onnx", True), ("plain.onnx", False)):
            pictures = ["data/a/0.png"] if command == "predict" else []
            assert run([command, name, *pictures, "--json", "--quiet"]) == 0
            shown = capsys.readouterr()
            assert json.loads(shown.out)["model"]["training_mode"] is training
            assert shown.err == ""


def test_a_file_in_evaluation_mode_says_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    open_model(save(tmp_path / "m.onnx", 0), warn=lines.append)
    assert lines == []


def test_the_graph_for_inference_takes_the_statistics_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    graphs = [read_graph(save(tmp_path / f"{i}.onnx", i)) for i in (0, 1)]
    assert to_inference(graphs[0]) is graphs[0]
    batch = np.concatenate([picture(rng), 5 * picture(rng)])
    wanted = Sessions(graphs[0], provider="cpu").run({"x": batch}, ["logits"])["logits"]
    found = Sessions(to_inference(graphs[1]), provider="cpu").run({"x": batch}, ["logits"])["logits"]
    trained = Sessions(graphs[1], provider="cpu").run({"x": batch}, ["logits"])["logits"]
    assert np.array_equal(found, wanted)
    assert np.abs(trained - wanted).max() > 0.1
    assert [len(n.output) for n in graphs[1].nodes if n.op_type == "BatchNormalization"] == [3]


def test_a_dropout_at_work_is_said_and_is_none_for_inference(make_model: MakeModel) -> None:
    """Two runs of the file as it is differ; the graph for inference is the one without the dropout."""

    def build(net: Net, x: str, ratio: float = 0.5, drops: bool = True) -> str:
        y = net("Relu", net.conv(x, 3, 8, 3))
        if ratio:
            y = net("Dropout", y, net.const(np.float32(ratio)), net.const(np.array(drops)), out="d")
        return net("Flatten", net("GlobalAveragePool", y), out="f")

    lines: list[str] = []
    path = make_model(build, opset=17)
    open_model(path, warn=lines.append)
    assert sum("in training mode: Dropout 'd' drops values at random" in line for line in lines) == 1
    feed = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    graph = read_graph(path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert not np.array_equal(session.run(None, feed)[0], session.run(None, feed)[0])
    plain = read_graph(make_model(lambda net, x: build(net, x, 0.0), opset=17, name="plain.onnx"))
    wanted = Sessions(plain, provider="cpu").run(feed, ["f"])["f"]
    assert np.array_equal(Sessions(to_inference(graph), provider="cpu").run(feed, ["f"])["f"], wanted)
    for given in ((0.5, False), (0.0, True)):
        silent: list[str] = []
        open_model(make_model(lambda net, x, given=given: build(net, x, *given), opset=17), warn=silent.append)
        assert not any("training mode" in line for line in silent)


def test_ascent_keeps_the_pictures_of_a_batch_apart(tmp_path: Path) -> None:
    torch = require("torch")
    from inspector.ascent.network import Network

    values = []
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for training in (0, 1):
        model = open_model(save(tmp_path / f"{training}.onnx", training))
        layer = next(x for x in model.layers if x.tensor == "r")
        network = Network(model, [layer])
        together = network(pictures)[layer.name]
        apart = torch.cat([network(p[None])[layer.name] for p in pictures])
        assert torch.allclose(together, apart, atol=1e-6)
        values.append(together)
    assert torch.equal(*values)
