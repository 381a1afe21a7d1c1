"""Weights from files: every wrapping that training scripts use, every way a file can be wrong, no pickle run."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from exporters.sources import load_source
from exporters.sources.weights import WeightsError, load_state, read_state, record_file
from tests.exporters import nets


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nets.tiny().state_dict()


def fresh() -> torch.nn.Module:
    torch.manual_seed(99)
    return nets.Tiny()


def loaded(path: Path) -> dict[str, torch.Tensor]:
    net = fresh()
    load_state(net, read_state(path), path.name)
    return net.state_dict()


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


WRAPPINGS = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": lambda s: {"model": s},
    "nested": lambda s: {"model": {"state_dict": s}},
    "parallel": lambda s: prefixed(s, "module."),
    "compiled parallel": lambda s: {"state_dict": prefixed(s, "module._orig_mod.")},
    "lightning": lambda s: {"state_dict": prefixed(s, "model."), "pytorch-lightning_version": "2"},
    "old": lambda s: {key: value for key, value in s.items() if not key.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_state_dicts_as_training_scripts_save_them(wrapping, state, tmp_path):
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "weights.pth")
    result = loaded(tmp_path / "weights.pth")
    assert all(torch.equal(result[key], value) for key, value in state.items() if value.is_floating_point())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_by_name_or_by_content(name, state, tmp_path):
    safetensors.torch.save_file(state, tmp_path / name)
    result = loaded(tmp_path / name)
    assert all(torch.equal(result[key], value) for key, value in state.items())


def test_a_network_whose_own_keys_have_the_prefix_keeps_it(state):
    net = torch.nn.ModuleDict({"model": fresh()})
    load_state(net, prefixed(state, "model."), "file")
    assert torch.equal(net["model"].head.weight, state["head.weight"])


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_a_malicious_pickle_is_not_executed(kind, state, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "weights.pth"
    content = {"state_dict": state, "extra": Malicious(trap)}
    if kind == "plain":
        path.write_bytes(pickle.dumps({"extra": Malicious(trap)}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match="weights"):
        read_state(path)
    with pytest.raises(WeightsError):
        load_source("tests.exporters.nets:tiny", weights=path)
    assert not trap.exists()


def test_a_whole_pickled_module_is_refused_with_the_way_out(tmp_path):
    torch.save(nets.Block(2), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"holds more than weights.*it was not loaded; save it as safetensors"):
        read_state(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pth", b""),
        ("text.pth", b"hello, these are no weights at all"),
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{"),
        ("huge.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x00{}"),
        ("zip.pth", b"PK\x03\x04" + bytes(60)),
    ],
)
def test_files_that_are_no_weights(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_truncated_checkpoints(state, tmp_path):
    for name, save in (("x.pth", torch.save), ("x.safetensors", safetensors.torch.save_file)):
        save(state, tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(WeightsError):
            read_state(tmp_path / name)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(WeightsError, match="there is no file"):
        read_state(tmp_path / "missing.pth")
    with pytest.raises(WeightsError, match="is not a file"):
        read_state(tmp_path)


def test_documents_without_tensors(tmp_path):
    for content in ({"epoch": 3}, [1, 2], {"state_dict": {"a": 1}}):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match="holds no tensors by name"):
            read_state(tmp_path / "x.pth")


def test_keys_that_do_not_fit_are_one_error_with_a_few_of_each(state):
    del state["stem.0.weight"], state["stem.0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["head.weight"] = torch.zeros(7, 16)
    net = fresh()
    before = net.head.bias.clone()
    with pytest.raises(WeightsError) as caught:
        load_state(net, state, "mine.pth")
    assert str(caught.value) == (
        "mine.pth does not fit Tiny: 2 missing (stem.0.weight, stem.0.bias); 1 unexpected (extra.weight); "
        "1 of another shape (head.weight (7, 16) for (5, 16)); give the weights of this very architecture"
    )
    assert torch.equal(net.head.bias, before)


def test_another_head_is_told_apart(state):
    state |= {"head.weight": torch.zeros(7, 16), "head.bias": torch.zeros(7)}
    with pytest.raises(WeightsError, match="the head differs: give labels"):
        load_state(fresh(), state, "mine.pth")


def test_the_record_of_a_file_holds_no_path(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"abc")
    assert record_file(tmp_path / "w.pth") == {"file": "w.pth", "sha256": hashlib.sha256(b"abc").hexdigest()}
