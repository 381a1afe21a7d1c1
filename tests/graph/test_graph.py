"""Reading the structure of a file, cutting it, and every kind of file that must be refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inspector import open_model
from inspector.errors import ModelError, UsageError
from inspector.graph import Graph, copy_with_metadata, read_graph
from tests.conftest import MakeModel
from tests.foreign import Net
from tests.foreign.converters import BUILDERS


def big(n: Net, x: str) -> str:
    """Two convolutions whose weights are above the limit for staying in the structure."""
    y = n("Relu", n.conv(x, 3, 32, w="w1", out="c1"), out="r1")
    return n("Relu", n.conv(y, 32, 16, w="w2", out="c2"), out="r2")


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_are_those_of_the_file(name: str, make_model: MakeModel) -> None:
    proto = BUILDERS[name]()
    graph = read_graph(make_model(proto))
    for tensor in proto.graph.initializer:
        expected = numpy_helper.to_array(tensor)
        found = graph.weight(tensor.name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert graph.opset == proto.opset_import[0].version
    assert graph.outputs == tuple(o.name for o in proto.graph.output)
    assert len(graph.inputs) == 1


def test_weights_stay_in_the_file(make_model: MakeModel) -> None:
    path = make_model(big)
    graph = read_graph(path)
    assert len(graph.proto.SerializeToString()) < 3000 < path.stat().st_size
    weight = graph.weight("w2")
    assert isinstance(weight, np.memmap)
    assert not weight.flags.writeable
    assert graph.parameters == 32 * 3 * 9 + 32 + 16 * 32 * 9 + 16
    assert graph.size == path.stat().st_size
    with pytest.raises(ModelError, match="no initializer named 'nothing'"):
        graph.weight("nothing")


def test_a_link_to_the_model_itself_is_fine(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(big)
    (tmp_path / "far").mkdir()
    link = tmp_path / "far" / "link.onnx"
    link.symlink_to(path)
    array = np.zeros((8, 8, 3), np.uint8)
    first, second = open_model(path).activations(array), open_model(link).activations(array)
    np.testing.assert_array_equal(next(iter(first.values())), next(iter(second.values())))


def test_names_with_spaces_and_other_scripts(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(big, name="мой файл 模型.onnx")
    assert open_model(path).activations(np.zeros((8, 8, 3), np.uint8))


def test_a_relative_path_survives_a_change_of_folder(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model(big)
    monkeypatch.chdir(path.parent)
    assert open_model(path.name).activations(np.zeros((8, 8, 3), np.uint8))


# --- cutting ----------------------------------------------------------------------------------------------------------


def test_a_cut_has_nothing_that_was_not_asked_for(make_model: MakeModel) -> None:
    graph = read_graph(make_model(big))
    cut = graph.cut(["c1"])
    assert [node.op_type for node in cut.proto.graph.node] == ["Conv"]
    assert "w2" not in {t.name for t in cut.proto.graph.initializer}
    assert (cut.inputs, cut.outputs, cut.leftover) == (("x",), ("c1",), ())
    assert len(graph.cut(["r2"]).proto.graph.node) == 4
    assert len(graph.cut(["c2"], ["r1"]).proto.graph.node) == 1
    assert graph.cut(["c2"], ["r1"]).inputs == ("r1",)
    with pytest.raises(ModelError, match="the graph has no tensor named 'zz'"):
        graph.cut(["zz"])


def test_later_nodes_do_not_matter(make_model: MakeModel) -> None:
    """A layer before a node that onnxruntime refuses, or that would take 40 GB, can still be looked at."""

    def broken(n: Net, x: str) -> str:
        c = n.conv(x, 3, 4, out="c")
        return n("Reshape", c, n.const(np.int64([7, 7])), out="bad")

    def huge(n: Net, x: str) -> str:
        c = n.conv(x, 3, 4, out="c")
        return n("Relu", n("Tile", c, n.const(np.int64([1, 1, 10_000, 10_000]))), out="huge")

    for build in (broken, huge):
        model = open_model(make_model(build))
        assert model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), ["c"])["c"].shape == (1, 4, 8, 8)
        with pytest.raises(ModelError):
            model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), [model.graph.outputs[0]])


def test_an_input_or_a_constant_may_be_asked_for(make_model: MakeModel) -> None:
    model = open_model(make_model(big))
    tensor = model.tensor(np.full((8, 8, 3), 7, np.uint8))
    values = model.run(tensor, ["x", "w1", "r1"])
    np.testing.assert_array_equal(values["x"], tensor)
    np.testing.assert_array_equal(values["w1"], model.graph.weight("w1"))


def test_a_head_that_reads_the_shape_of_the_picture(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        c = n("GlobalAveragePool", n("Relu", n.conv(x, 3, 4), out="r"))
        batch = n("Gather", n("Shape", x), n.const(np.int64([0])), axis=0)
        flat = n("Reshape", c, n("Concat", batch, n.const(np.int64([-1])), axis=0), out="flat")
        return n("Gemm", flat, n.weight((5, 4)), transB=1, out="y")

    model = open_model(make_model(build, shape=("n", 3, 8, 8)))
    cut = model.graph.cut(["y"], ["r"])
    assert (cut.leftover, cut.shape_only) == (("x",), True)
    tensor = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    whole = model.run(tensor, ["r", "y"])
    np.testing.assert_allclose(model.sessions.run_from({"r": whole["r"]}, ["y"])["y"], whole["y"], rtol=1e-5)

    def reads_it(n: Net, x: str) -> str:
        return n("Add", n("Relu", n.conv(x, 3, 3), out="r"), x, out="y")

    model = open_model(make_model(reads_it))
    assert not model.graph.cut(["y"], ["r"]).shape_only
    with pytest.raises(ModelError, match="still reads the picture; choose a layer that everything passes through"):
        model.sessions.run_from({"r": np.zeros((1, 3, 8, 8), np.float32)}, ["y"])


def test_bodies_of_if_are_followed(make_model: MakeModel) -> None:
    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{op}_out", 1, None)
        return helper.make_graph([helper.make_node(op, ["c"], [f"{op}_out"])], op, [], [out])

    def build(n: Net, x: str) -> str:
        n.conv(x, 3, 4, out="c")
        flag = n.const(np.bool_(True))
        return n("Relu", n("If", flag, then_branch=branch("Neg"), else_branch=branch("Relu"), out="i"), out="y")

    model = open_model(make_model(build))
    assert len(model.graph.cut(["y"]).proto.graph.node) == 3
    values = model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), ["c", "y"])
    np.testing.assert_array_equal(values["y"], np.maximum(-values["c"], 0))


# --- refused: not a model ---------------------------------------------------------------------------------------------


def refusal(path: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def test_not_a_model(tmp_path: Path) -> None:
    for name, content, message in (
        ("text.onnx", b"Dear reader,\nthis is a letter.\n" * 50, "is not an ONNX model, or is damaged"),
        ("short.onnx", b"hello", "is not an ONNX model"),
        ("empty.onnx", b"", "is empty (0 bytes); give the path of an .onnx file"),
        ("zeros.onnx", bytes(5000), "is not an ONNX model, or is damaged (byte 0)"),
        ("page.onnx", b"<!DOCTYPE html><html><body>404: Not Found</body></html>", "is not an ONNX model"),
        ("pickle.onnx", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", "is not an ONNX model"),
        ("archive.onnx", b"PK\x03\x04" + bytes(100), "is not an ONNX model"),
        ("lfs.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 19\n", "is not an ONNX model"),
        ("graphless.onnx", onnx.ModelProto(ir_version=8).SerializeToString(), "it holds no graph"),
        ("ff.onnx", b"\xff" * 100, "is not an ONNX model, or is damaged"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert refusal(path).startswith(f"{path} {message}" if message[:2] == "is" else str(path))
        assert message in refusal(path)
    assert refusal(tmp_path) == f"{tmp_path} is a folder; give the path of an .onnx file"
    assert refusal(tmp_path / "x.onnx") == f"there is no file {tmp_path / 'x.onnx'}; give the path of an .onnx file"
    with pytest.raises(UsageError, match="is not a path: embedded null byte"):
        open_model("a\0b")
    assert "Not a directory" in refusal(tmp_path / "text.onnx" / "x")
    assert "is not a file" in refusal("/dev/null")


@pytest.mark.parametrize("name", ["yolo", "quantised"])
def test_truncated_anywhere(name: str, make_model: MakeModel) -> None:
    path = make_model(BUILDERS[name]())
    data = path.read_bytes()
    for length in sorted({*range(1, len(data), len(data) // 60), len(data) - 1, len(data) - 2}):
        path.write_bytes(data[:length])
        message = refusal(path)
        assert "truncated" in message or "damaged" in message or "holds no graph" in message, (length, message)


def test_truncated_in_the_weights(make_model: MakeModel) -> None:
    path = make_model(big)
    path.write_bytes(path.read_bytes()[:-3000])
    assert " is truncated: it ends " in refusal(path)


def test_unknown_operators_are_named(make_model: MakeModel) -> None:
    def build(n: Net, x: str) -> str:
        n.domains.update({"acme.vision": 1, "other": 1})
        x = n("Sparkle", n("Glitter", x, domain="acme.vision"), domain="acme.vision")
        return n("Relu", n("Foo", x, domain="other"))

    message = refusal(make_model(build))
    assert (
        "uses operators that onnxruntime does not have: acme.vision:Glitter, acme.vision:Sparkle, other:Foo" in message
    )
    assert "standard ONNX operators" in message


def test_operators_of_the_standard_domain_that_do_not_exist(make_model: MakeModel) -> None:
    model = open_model(make_model(lambda n, x: n("NoSuchOperator", n.conv(x, 3, 4, out="c"), out="y")))
    assert model.activations(np.zeros((8, 8, 3), np.uint8), ["c"])
    with pytest.raises(ModelError, match=r"onnxruntime cannot load .*NoSuchOperator"):
        model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), ["y"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: g.node[1].input.__setitem__(0, "nowhere"), "reads 'nowhere', which nothing before it makes"),
        (lambda g: g.node[1].output.__setitem__(0, "c1"), "tensor 'c1' is made twice"),
        (lambda g: g.output.__delitem__(0), "has no output"),
        (lambda g: g.output[0].__setattr__("name", "zz"), "nothing makes its output 'zz'"),
        (lambda g: g.node[0].input.__delitem__(slice(1, None)), "has 1 inputs and 1 outputs where Conv needs 2 and 1"),
        (lambda g: g.node[1].output.__delitem__(0), "makes nothing"),
        (lambda g: g.initializer[0].dims.__setitem__(0, 10**9), "bytes where its shape needs"),
        (lambda g: g.initializer[0].dims.__setitem__(0, -5), "has a negative size"),
        (lambda g: g.initializer[0].__setattr__("data_type", 99), "has an unknown data type (99)"),
        (lambda g: g.initializer[1].__setattr__("raw_data", b"123"), "has 3 bytes where its shape needs 128"),
        (lambda g: g.initializer[1].ClearField("raw_data"), "has 0 bytes where its shape needs 128"),
        (lambda g: g.input[0].type.tensor_type.__setattr__("elem_type", 77), "has an unknown data type (77)"),
        (lambda g: g.node[0].attribute[0].__setattr__("type", 5), "is of the wrong type"),
        (lambda g: g.node[0].attribute.append(helper.make_attribute("pads", 1.5)), "'pads' of node"),
    ],
)  # fmt: skip
def test_damaged(damage: Callable[[Any], None], message: str, make_model: MakeModel) -> None:
    path = make_model(big)
    model = onnx.load(path)
    damage(model.graph)
    path.write_bytes(model.SerializeToString())
    assert message in refusal(path)


@pytest.mark.parametrize(
    ("operator", "numbers", "said"),
    [
        ("RandomNormalLike", {"scale": 0.0}, "scale 0"),
        ("RandomNormalLike", {"scale": float("nan")}, "scale nan"),
        ("RandomUniformLike", {"low": 2.0}, "low 2"),
        ("RandomUniformLike", {"low": 1.0, "high": 1.0}, ""),
    ],
)
def test_random_numbers_of_no_distribution(
    operator: str, numbers: dict[str, float], said: str, make_model: MakeModel
) -> None:
    """onnxruntime would end the process."""
    path = make_model(lambda n, x: n("Add", x, n(operator, x, name="noise", **numbers)))
    if not said:
        assert read_graph(path).outputs
        return
    message = refusal(path)
    assert message.startswith(f"{path} draws random numbers that no distribution has: node ")
    assert f", {said}; a scale is above 0" in message


@pytest.mark.parametrize("version", [0, -1, 2**40, None])
def test_opsets_that_do_not_exist(version: int | None, make_model: MakeModel) -> None:
    model = onnx.load(make_model(big))
    if version is None:
        del model.opset_import[:]
    else:
        model.opset_import[0].version = version
    assert f"is damaged: it says opset {version or 0}" in refusal(make_model(model))


def test_names_that_are_not_text(make_model: MakeModel) -> None:
    path = make_model(lambda n, x: n("Relu", n.conv(x, 3, 4, name="NAME"), name="NAME"))
    path.write_bytes(path.read_bytes().replace(b"NAME", b"\xff\xfe\xfd\xfc"))
    assert "a name in it is not text" in refusal(path)


# --- refused: not one picture -----------------------------------------------------------------------------------------


def test_not_one_picture(make_model: MakeModel) -> None:
    def two(n: Net, x: str) -> str:
        return n("Add", n.conv(x, 3, 4), n.input("mask", (1, 4, 8, 8)))

    others = (
        "inspector reads networks that take one picture; give the others: --input mask=VALUE,... "
        "(`inputs` of open_model in Python)"
    )
    message = refusal(make_model(two))
    assert message.endswith(f"has 2 inputs: x (1, 3, 8, 8), mask (1, 4, 8, 8); {others}")

    def relu(n: Net, x: str) -> str:
        return n("Relu", x)

    for shape, dtype, part in (
        ((1, 128), 1, "of shape (1, 128) is not a picture"),
        ((1, 3, 8, 8, 8), 1, "of shape (1, 3, 8, 8, 8) is not a picture"),
        ((1, 3, 8, 8), TensorProto.INT64, "holds int64, not pixels"),
        ((1, 3, 8, 8), TensorProto.STRING, "not pixels"),
        ((1, 64, 8, 8), 1, "has 64 channels, not 1 or 3"),
        ((10**6, 3, 8, 8), 1, "takes 1000000 pictures at a time, not 1"),
        ((1, 3, 10**6, 10**6), 1, "is too large"),
        ((1, 3, 2**62, 2**62), 1, "is too large"),
        ((), 1, "of shape () is not a picture"),
    ):
        assert part in refusal(make_model(relu, shape=shape, dtype=dtype)), part
    model = onnx.load(make_model(relu))
    del model.graph.input[:]
    path = make_model(model)
    assert "has 0 inputs" in refusal(path) or "which nothing" in refusal(path)


def test_sequences_are_no_pictures(make_model: MakeModel) -> None:
    model = onnx.load(make_model(lambda n, x: n("Relu", x)))
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", 1, [1, 3, 8, 8]))
    assert "not pixels" in refusal(make_model(model))


# --- external data ----------------------------------------------------------------------------------------------------


@pytest.fixture
def external(make_model: MakeModel, tmp_path: Path) -> Callable[..., Path]:
    """A model whose weights are beside it, and one entry of them changed."""

    def make(**changes: str) -> Path:
        model = onnx.load(make_model(big))
        path = tmp_path / "external.onnx"
        (tmp_path / "w.bin").unlink(missing_ok=True)
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
        model = onnx.load(path, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            entry.value = changes.get(entry.key, entry.value)
        path.write_bytes(model.SerializeToString())
        return path

    return make


def test_external_data_is_read(external: Callable[..., Path]) -> None:
    graph = read_graph(external())
    inside = onnx.load(graph.path)
    np.testing.assert_array_equal(graph.weight("w2"), numpy_helper.to_array(inside.graph.initializer[2]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "../w.bin"}, "'../w.bin' points outside the model's folder"),
        ({"location": "a/../../w.bin"}, "points outside"),
        ({"location": "/etc/passwd"}, "'/etc/passwd' points outside the model's folder; keep external data beside"),
        ({"location": "..\\w.bin"}, "points outside"),
        ({"location": "C:w.bin"}, "points outside"),
        ({"location": ""}, "location is empty or malformed"),
        ({"location": "none.bin"}, "external data file 'none.bin' is missing; put it in"),
        ({"location": "."}, "is not a plain file"),
        ({"location": "\0self"}, "bytes"),
        ({"offset": "-8"}, "is malformed"),
        ({"offset": "x"}, "is malformed"),
        ({"offset": str(2**70)}, "reaches to byte"),
        ({"offset": "30000"}, "reaches to byte 33456 of w.bin, which has"),
        ({"length": "4"}, "has 4 bytes where its shape needs 3456"),
        ({"length": "-2"}, "is malformed"),
    ],
)
def test_external_data_is_refused(external: Callable[..., Path], changes: dict[str, str], message: str) -> None:
    path = external(**changes)
    if changes.get("location") == "\0self":
        # The mark that the reader itself uses: no way into the model's own bytes with a false length.
        model = onnx.load(path, load_external_data=False)
        next(e for e in model.graph.initializer[0].external_data if e.key == "offset").value = str(2**40)
        path.write_bytes(model.SerializeToString())
        assert "reaches to byte" in refusal(path)
        return
    assert message in refusal(path)


def test_external_data_behind_links(external: Callable[..., Path], tmp_path: Path) -> None:
    """A link that stays in the model's own folder reaches nothing that a plain location could not name."""
    path = external()
    data = tmp_path / "w.bin"
    other = tmp_path / "other.bin"
    os.link(data, other)
    assert "'w.bin' is behind a hard link" in refusal(path)
    other.unlink()
    assert open_model(path)
    shutil.move(data, other)
    data.symlink_to(other)
    assert open_model(path).graph.external_files == (other.resolve(),)
    outside = tmp_path.with_name(f"{tmp_path.name}-outside")
    outside.mkdir()
    shutil.move(other, outside / "w.bin")
    data.unlink()
    data.symlink_to(outside / "w.bin")
    assert "'w.bin' is behind a symbolic link" in refusal(path)
    data.unlink()
    (tmp_path / "away").symlink_to(outside, target_is_directory=True)
    assert "is behind a symbolic link" in refusal(external_at(path, "away/w.bin"))
    (tmp_path / "real").mkdir()
    shutil.move(outside / "w.bin", tmp_path / "real" / "w.bin")
    (tmp_path / "linked").symlink_to("real", target_is_directory=True)
    assert open_model(external_at(path, "linked/w.bin"))
    os.link(tmp_path / "real" / "w.bin", other)
    assert "is behind a hard link" in refusal(external_at(path, "linked/w.bin"))
    other.unlink()
    assert open_model(external_at(path, "real/w.bin"))
    (tmp_path / "real" / "w.bin").write_bytes(b"short")
    assert "which has 5; the external data file is truncated" in refusal(path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a plain file" in refusal(external_at(path, "pipe"))


def external_at(path: Path, location: str) -> Path:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_inside_bodies_and_attributes(make_model: MakeModel, tmp_path: Path) -> None:
    """Where a checker that looks at initializers only does not look."""
    secret = onnx.TensorProto(name="s", data_type=1, dims=[2], data_location=1)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "8")):
        entry = secret.external_data.add()
        entry.key, entry.value = key, value
    out = helper.make_tensor_value_info("o", 1, None)

    def in_body(n: Net, x: str) -> str:
        body = helper.make_graph([helper.make_node("Identity", ["s"], ["o"])], "b", [], [out], [secret])
        made = n("If", n.const(np.bool_(True)), then_branch=body, else_branch=body)
        return n("Add", n.conv(x, 3, 4), n("ReduceMax", made, keepdims=0))

    def in_attribute(n: Net, x: str) -> str:
        made = n("Constant", value=secret)
        return n("Add", n.conv(x, 3, 4), n("ReduceMax", made, keepdims=0))

    for build in (in_body, in_attribute):
        assert "points outside the model's folder" in refusal(make_model(build))


# --- local functions --------------------------------------------------------------------------------------------------


def function(name: str, *calls: str) -> onnx.FunctionProto:
    nodes, last = [], "x"
    for i, call in enumerate(calls):
        domain = "" if call == "Relu" else "f"
        nodes.append(helper.make_node(call, [last], [f"t{i}"], domain=domain))
        last = f"t{i}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["x"], ["y"], nodes, opsets)


def with_functions(make_model: MakeModel, *functions: onnx.FunctionProto, call: str) -> Path:
    def build(n: Net, x: str) -> str:
        n.domains["f"] = 1
        return n(call, n.conv(x, 3, 4), domain="f")

    model = onnx.load(make_model(build))
    model.functions.extend(functions)
    return make_model(model)


def test_functions_that_explode(make_model: MakeModel) -> None:
    laughs = [function(f"f{i}", *[f"f{i - 1}"] * 10 if i else ["Relu"] * 10) for i in range(12)]
    assert "expand to more than 200000 nodes" in refusal(with_functions(make_model, *laughs, call="f11"))
    assert open_model(with_functions(make_model, *laughs[:3], call="f2"))


def test_functions_that_call_themselves(make_model: MakeModel) -> None:
    assert "'a' calls itself" in refusal(with_functions(make_model, function("a", "a"), call="a"))
    loop = [function("a", "b"), function("b", "a")]
    assert "calls itself" in refusal(with_functions(make_model, *loop, call="a"))
    long = [function(f"f{i}", f"f{i + 1}") for i in range(5000)] + [function("f5000", "Relu")]
    assert "calls itself" in refusal(with_functions(make_model, *long, call="f0"))


# --- changes under way ------------------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_open(make_model: MakeModel) -> None:
    path = make_model(big)
    model = open_model(path)
    array = np.zeros((8, 8, 3), np.uint8)
    values = model.activations(array, ["c1"])
    make_model(big, seed=5)
    for action in (
        lambda: model.graph.weight("w1"),
        lambda: model.activations(array, ["c2"]),
        lambda: copy_with_metadata(model.graph, path.with_name("copy.onnx"), {}),
    ):
        with pytest.raises(ModelError, match="was changed while it was open; open it again"):
            action()
    # What is in memory still runs.
    np.testing.assert_array_equal(model.activations(array, ["c1"])["c1"], values["c1"])
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read any more: No such file"):
        model.graph.weight("w1")


def test_copies_are_the_same_bytes_but_for_the_metadata(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model(big, metadata={"author": "me", "inspector": "old"})
    graph = read_graph(path)
    target = tmp_path / "copy.onnx"
    copy_with_metadata(graph, target, {"inspector": "new", "more": "1"})
    copied = read_graph(target)
    assert copied.metadata == {"author": "me", "inspector": "new", "more": "1"}
    first, second = onnx.load(path), onnx.load(target)
    assert first.graph.SerializeToString() == second.graph.SerializeToString()
    assert isinstance(copied, Graph)


def test_a_digest_is_of_the_file_that_was_read(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_model(big)
    whole, go_on = hashlib.file_digest, threading.Event()

    def write_first(file: BinaryIO, name: str) -> object:
        os.utime(path, ns=(1, 1))
        return whole(file, name)

    monkeypatch.setattr(hashlib, "file_digest", write_first)
    with pytest.raises(ModelError, match="was changed while it was open; open it again"):
        _ = read_graph(path).digest

    def wait_first(file: BinaryIO, name: str) -> object:
        go_on.wait(60)
        return whole(file, name)

    monkeypatch.setattr(hashlib, "file_digest", wait_first)
    graph = read_graph(path)
    monkeypatch.setattr(hashlib, "file_digest", whole)
    # In a copy of this process the thread that makes it would be missing.
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    go_on.set()


def test_nothing_stays_open(make_model: MakeModel, no_descriptor_leak: None) -> None:
    path = make_model(big)
    for _ in range(10):
        assert read_graph(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(10):
        refusal(path)
