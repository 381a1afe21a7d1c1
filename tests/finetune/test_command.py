"""`inspector finetune` as INTERFACE fixes it, on the embedded default model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from inspector import open_model
from inspector.cli.app import app, run_guarded
from tests.finetune.conftest import write_digits

QUICK = (
    "--unfreeze-last", "2", "--head-epochs", "12", "--joint-epochs", "3", "--versions", "2", "--augment", "crop",
    "--size", "96", "--head-rate", "1e-2", "--batch", "16",
)  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    given = [*map(str, arguments)]
    code = run_guarded(lambda: app(args=given, prog_name="inspector", standalone_mode=False), "--json" in given)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("ten"), 200)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_digits_from_end_to_end(
    ten: Path, cache: Path, default_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ("finetune", ten, "--base", default_model, "-o", run, "--cache", cache, *QUICK)
    threads = torch.get_num_threads()
    code, out, err = call(capsys, *command, "--threads", "1", "--provider", "cpu", "--json")
    assert code == 0, err
    assert json.loads((run / "config.json").read_text("utf-8"))["threads"] == 1
    assert torch.get_num_threads() == threads
    found: dict[str, Any] = json.loads(out)
    assert found["command"] == "finetune"
    assert set(found) >= {"schema", "version", "model", "run", "best", "frozen_unchanged", "seconds", "parity", "file"}
    assert set(found["best"]) >= {"phase", "epoch", "accuracy", "balanced_accuracy", "loss"}
    assert "test" not in found
    assert found["frozen_unchanged"] is True
    assert set(found["frozen"]) == {"file", "head", "joint"}
    assert all(set(d) == {"before", "after"} and len(set(d.values())) == 1 for d in found["frozen"].values())
    assert set(found["seconds"]) == {"cache", "head", "joint", "all"}
    assert found["best"]["accuracy"] >= 0.7
    assert len(found["parity"]) > 90
    model = open_model(found["model"]["path"])
    assert model.sha256 == found["model"]["sha256"]
    assert model.labels == tuple("0123456789")
    assert [x.name for x in model.layers] == [x.name for x in open_model(default_model).layers]

    code, out, _ = call(capsys, "predict", run / "model.onnx", ten / "7", "--top", "1", "--json")
    assert code == 0
    labels = [i["top"][0]["label"] for i in json.loads(out)["images"]]
    assert labels.count("7") > 0.6 * len(labels)

    code, out, err = call(capsys, *command)
    assert code == 2
    assert err == f"inspector: {run} holds a run already; --resume goes on with it\n"
    code, out, err = call(capsys, *command, "--resume")
    assert code == 0
    assert "did not move" in out
    assert "balanced accuracy" in out
    code, out, _ = call(capsys, "export", run, "-o", tmp_path / "again.onnx", "--json")
    assert code == 0
    assert json.loads(out)["model"]["sha256"] == found["model"]["sha256"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    ten: Path, default_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("finetune", ten, "--base", default_model, "-o", tmp_path / "run", "--dry-run", *QUICK)
    code, out, _ = call(capsys, *command)
    assert code == 0
    for line in (
        "1 new head           fc for 10 classes, 12,810 parameters",
        "4 unfrozen           from blocks.15.project_conv on",
        "batch norms none in the graph",
        "preprocess  96x96",
    ):
        assert line in out
    assert sum("frozen" in line.split() for line in out.splitlines()) >= 47
    code, out, _ = call(capsys, *command, "--json")
    found = json.loads(out)
    assert [x["name"] for x in found["plan"]["layers"]][-1] == "fc"
    assert found["model"]["sha256"] == open_model(default_model).sha256
    assert Path(found["model"]["path"]).resolve() == Path(default_model).resolve()
    assert not (tmp_path / "run").exists()
    bare = [x for x in command if x not in ("-o", tmp_path / "run")]
    assert call(capsys, *bare, "--json")[:2] == (0, out)
    code, _, err = call(capsys, *[x for x in bare if x != "--dry-run"])
    assert (code, "no RUN was given; give the folder to write: -o RUN" in err) == (2, True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--unfreeze-from", "blocks.99"), "there is no layer 'blocks.99'; nearest"),
        (("--unfreeze-last", "99"), "99 layers were to be unfrozen, and 49 layers with weights come before the head"),
        (("--balance", "some"), "there is no balance 'some'; known: weights, sampling, none"),
        (("--base", "torchvision:resnet"), "torchvision has no classification network 'resnet'"),
        (("--resume",), "to resume"),
        (("--cache-limit", "nan"), "the cache limit nan is not a number above 0"),
        pytest.param(
            ("--provider", "cuda"),
            "torch finds no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        (("--provider", "gpu"), "gpu"),
    ],
)
def test_errors_are_one_line(
    ten: Path, default_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    code, out, err = call(capsys, "finetune", ten, "--base", default_model, "-o", tmp_path / "run", "-q", *more)
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
