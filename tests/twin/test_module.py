"""The twin as a torch module: what is built, its state, free batch and size, backward rules, errors."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import onnx
import pytest

from inspector.agreement import compare_layer
from inspector.errors import ModelError, NotComputable, UsageError
from inspector.graph import read_graph
from tests.conftest import MakeModel, require
from tests.foreign import Net

torch = require("torch")

from inspector.twin import (  # noqa: E402
    Agreement,
    TwinMismatch,
    TwinUnsupported,
    build_twin,
    find_unsupported,
    list_supported_operators,
    verify_twin,
    write_back,
)
from inspector.twin.module import name_state  # noqa: E402


def _noise(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def _small(net: Net, x: str) -> str:
    y = net("Relu", net.conv(x, 3, 4, w="stem.weight", bias="stem.bias"), out="stem")
    y = net("Relu", net.bn(net.conv(y, 4, 6, bias=False), 6, ("bn.gamma", "bn.beta", "bn.mean", "bn.var")), out="body")
    y = net("Flatten", net("GlobalAveragePool", y), out="pooled")
    return net(
        "Gemm", y, net.weight((5, 6), "head.weight"), net.const(np.zeros(5), "head.bias"), out="logits", transB=1
    )


# --- what is built ------------------------------------------------------------------------------------------------


def test_only_the_part_between_is_built(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["body"], ["stem"])
    assert (twin.inputs, twin.outputs) == (("stem",), ("body",))
    assert not any(key.startswith(("stem", "head")) for key in twin.state_dict())
    whole = build_twin(graph, ["stem", "body", "logits"])
    values = whole(_noise(1, 3, 8, 8))
    assert list(values) == ["stem", "body", "logits"]
    assert torch.equal(twin(values["stem"])["body"], values["body"])


def test_outputs_may_be_inputs_and_weights(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    x = _noise(1, 3, 8, 8)
    values = build_twin(graph, ["x", "head.weight", "stem"])(x)
    assert torch.equal(values["x"], x)
    assert torch.equal(values["head.weight"], torch.from_numpy(np.array(graph.weight("head.weight"))))


def test_in_place_steps_do_not_touch_what_is_asked_for(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        a = net.conv(x, 3, 3, out="a")
        return net("Relu", net("Add", net("Relu", net.conv(a, 3, 3, out="b"), out="c"), a, out="d"), out="e")

    graph = read_graph(make_model(build))
    x = _noise(2, 3, 8, 8)
    together = build_twin(graph, list("abcde"))(x)
    assert any(step.run is not step.plain for step in build_twin(graph, ["e"])._steps)
    for name, value in together.items():
        assert torch.equal(value, build_twin(graph, [name])(x)[name]), name
    assert (together["d"] < 0).any()
    plain = build_twin(graph, list("abcde"), in_place=False)
    assert all(step.run is step.plain for step in plain._steps)
    for name, value in plain(x).items():
        assert torch.equal(value, together[name]), name
    assert torch.equal(x, _noise(2, 3, 8, 8))


def test_a_tensor_is_replaced_before_anything_reads_it(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    x = _noise(2, 3, 8, 8)
    seen: list[Any] = []

    def halve(values: Any) -> Any:
        seen.append(values)
        return values / 2

    plain = build_twin(graph, ["stem", "logits"])(x)
    twin = build_twin(graph, ["stem", "logits"], after={"stem": halve})
    changed = twin(x)
    assert torch.equal(changed["stem"], plain["stem"] / 2)
    assert torch.equal(changed["logits"], build_twin(graph, ["logits"], ["stem"])(plain["stem"] / 2)["logits"])
    # What was given to the function is not overwritten by a later step in place.
    assert torch.equal(seen[0], plain["stem"])
    assert torch.equal(dict(twin.trace(x))["stem"], changed["stem"])
    with pytest.raises(UsageError, match="nowhere cannot be transformed: the module does not make them"):
        build_twin(graph, ["logits"], after={"nowhere": halve})
    assert torch.equal(x, _noise(2, 3, 8, 8))


def test_tensors_are_freed_when_they_were_read_last(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        for i in range(6):
            x = net("Sigmoid", x, out=f"t{i}")
        return x

    graph = read_graph(make_model(build))
    alive: list[weakref.ref[Any]] = []
    most = 0
    for _, value in build_twin(graph, ["t5"]).trace(_noise(1, 3, 8, 8)):
        alive.append(weakref.ref(value))
        del value
        most = max(most, sum(ref() is not None for ref in alive))
    assert most == 2


def test_a_twin_does_not_keep_what_it_was_built_from(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["logits"])
    held = weakref.ref(graph)
    del graph
    gc.collect()
    assert held() is None
    assert twin(_noise(1, 3, 8, 8))["logits"].shape == (1, 5)


# --- state --------------------------------------------------------------------------------------------------------


def test_state_has_the_names_of_the_file(make_model: MakeModel) -> None:
    twin = build_twin(read_graph(make_model(_small)), ["logits"], trainable=True)
    parameters = dict(twin.named_parameters())
    named = {"stem.weight", "stem.bias", "bn.gamma", "bn.beta", "head.weight", "head.bias"}
    assert named < set(parameters)
    assert len(parameters) == 7  # and the weight that was given no name
    assert all(p.requires_grad for p in parameters.values())
    assert {"bn.mean", "bn.var"} < set(dict(twin.named_buffers()))
    assert set(twin.state_dict()) == {*parameters, "bn.mean", "bn.var"}
    assert not any(p.requires_grad for p in build_twin(read_graph(make_model(_small)), ["logits"]).parameters())


def test_names_that_torch_refuses() -> None:
    names = ["", "a", "a.b", "a..b", "forward", "x.forward", "x.y.z", "x.y", "inputs", ".", "a.b.c", "a_"]
    keys = name_state(names)
    assert len(set(keys.values())) == len(names)
    assert keys["x.y.z"] == "x.y.z"
    assert keys["a"] == "a"
    assert keys["a.b"] == "a_.b"
    assert keys["forward"] == "forward_"
    assert name_state(names) == keys
    module = torch.nn.Module()
    for key in keys.values():
        owner = module
        *path, leaf = key.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner._modules[part]
        owner.register_parameter(leaf, torch.nn.Parameter(torch.zeros(1)))
    assert set(module.state_dict()) == set(keys.values())


def test_clashing_names_run(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        y = net.conv(x, 3, 3, w="layer", bias="layer.bias")
        return net.conv(net.conv(y, 3, 3, w="forward", bias="inputs"), 3, 3, w="a.training.w", bias="_anchor")

    path = make_model(build)
    graph = read_graph(path)
    twin = build_twin(graph, graph.outputs)
    verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy()})
    assert set(write_back(twin)) == {"layer", "layer.bias", "forward", "inputs", "a.training.w", "_anchor"}


def test_constants_are_no_parameters(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        x = net("Div", net("Sub", x, net.const(np.ones((1, 3, 1, 1)), "mean")), net.const(np.ones((1, 3, 1, 1)), "std"))
        y = net.conv(x, 3, 4, w="w", bias=False)
        y = net("Mul", net("Add", y, net.const(np.ones((4, 1, 1)), "bias")), net.const(0.5, "half"))
        y = net("Clip", y, net.const(0.0, "low"), net.const(6.0, "high"))
        return net("Resize", y, "", net.const([1.0, 1.0, 2.0, 2.0], "scales"))

    graph = read_graph(make_model(build))
    twin = build_twin(graph, graph.outputs)
    assert set(dict(twin.named_parameters())) == {"w", "bias"}
    assert set(twin.state_dict()) == {"w", "bias"}


def test_rearranged_weights_stay_trainable(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        y = net("MatMul", net("Flatten", x), net("Transpose", net.weight((5, 12), "w"), perm=[1, 0]))
        return net("Mul", y, net("Unsqueeze", net.const(np.ones(5), "gamma"), net.const(np.array([0]), "axes")))

    graph = read_graph(make_model(build, shape=("n", 3, 2, 2)))
    twin = build_twin(graph, graph.outputs, trainable=True)
    assert set(twin.state_dict()) == {"w", "gamma"}
    twin(_noise(2, 3, 2, 2))[graph.outputs[0]].sum().backward()
    assert all(p.grad is not None for p in twin.parameters())


def test_weights_that_nodes_make(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        q = net.const(np.arange(-40, 41).reshape(3, 3, 3, 3), dtype=np.int8)
        w = net("DequantizeLinear", q, net.const(0.01), out="w")
        bias = net("ConstantOfShape", net.const(np.array([3])), out="b")
        return net("Conv", x, w, bias)

    graph = read_graph(make_model(build))
    twin = build_twin(graph, graph.outputs)
    assert twin.made_by_nodes == {"w", "b"}
    assert [s.label.split()[0] for s in twin._steps] == ["Conv"]
    assert np.allclose(write_back(twin)["w"].ravel(), np.arange(-40, 41) * 0.01)


def test_write_back_after_training(make_model: MakeModel) -> None:
    path = make_model(_small)
    graph = read_graph(path)
    twin = build_twin(graph, ["logits"], trainable=True)
    before = write_back(twin)
    for name, array in before.items():
        assert array.dtype == graph.weight(name).dtype
        assert np.array_equal(array, graph.weight(name))
    optimiser = torch.optim.SGD(twin.parameters(), 0.1)
    twin(_noise(4, 3, 8, 8))["logits"].square().sum().backward()
    optimiser.step()
    after = write_back(twin)
    assert all(not np.array_equal(after[n], before[n]) for n in ("stem.weight", "bn.gamma", "head.weight"))
    assert np.array_equal(after["bn.mean"], before["bn.mean"])
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in after:
            tensor.CopyFrom(onnx.numpy_helper.from_array(after[tensor.name], tensor.name))
    trained = path.with_name("trained.onnx")
    onnx.save(model, trained)
    verify_twin(twin, read_graph(trained), {"x": _noise(1, 3, 8, 8).numpy()})


def test_half_precision_files(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        w, b = net.weight((4, 3, 3, 3), "w", np.float16), net.const(np.ones(4), "b", np.float16)
        return net("Cast", net("Relu", net("Conv", x, w, b)), to=1)

    graph = read_graph(make_model(build, dtype=10, outputs={}))
    twin = build_twin(graph, graph.outputs)
    assert twin(_noise(1, 3, 8, 8))[graph.outputs[0]].dtype == torch.float32
    verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy().astype(np.float16)}, tolerance=3e-3)
    assert write_back(twin)["w"].dtype == np.float16
    exact = build_twin(graph, graph.outputs, dtype=None)
    assert next(exact.parameters()).dtype == torch.float16


def test_torch_habits(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["logits"])
    x = _noise(2, 3, 8, 8)
    y = twin(x)["logits"]
    other = copy.deepcopy(twin).double()
    assert other(x.double())["logits"].dtype == torch.float64
    assert torch.allclose(other(x.double())["logits"].float(), y, atol=1e-5)
    assert torch.equal(twin(x)["logits"], y)
    assert torch.allclose(copy.deepcopy(twin).bfloat16()(x.bfloat16())["logits"].float(), y, atol=0.1)
    other = build_twin(graph, ["logits"]).to(memory_format=torch.channels_last)
    other.load_state_dict(twin.state_dict())
    assert torch.allclose(other(x.to(memory_format=torch.channels_last))["logits"], y, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16), twin.leaky_backward():
        z = x.clone().requires_grad_()
        twin(z)["logits"].sum().backward()
    assert z.grad.abs().sum() > 0
    assert "x -> logits" in repr(twin)
    twin.train()
    assert torch.equal(twin(x)["logits"], y)


def test_everything_lives_on_one_device(make_model: MakeModel) -> None:
    """On a machine without an accelerator a fake one finds every operation that mixes devices."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    def build(net: Net, x: str) -> str:
        y = net("Div", net.conv(x, 3, 4), net("Sqrt", net("Cast", net("Size", x), to=1)))
        y = net("Gather", y, net.const(np.array([2, -1])), axis=2)
        y = net("Mul", y, net("Cast", net("Shape", x, start=3), to=1))
        mask = net("Greater", y, net.const(0.0))
        return net("Where", mask, y, net.const(-np.ones((4, 1, 1))))

    graph = read_graph(make_model(build))
    twin = build_twin(graph, graph.outputs)
    verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy()})
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in twin.modules():
            for store in (module._parameters, module._buffers):
                for key, value in store.items():
                    store[key] = torch.empty(value.shape, dtype=value.dtype, device="cuda")
        y = twin(torch.empty(1, 3, 8, 8, device="cuda"))[graph.outputs[0]]
    assert y.device.type == "cuda"


# --- batch, size, cuts --------------------------------------------------------------------------------------------


def test_batch_and_size_are_free(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small, shape=(1, 3, 8, 8)))
    twin = build_twin(graph, ["logits"])
    assert twin(_noise(3, 3, 20, 12))["logits"].shape == (3, 5)


@pytest.mark.parametrize("target", [[1, -1], [1, 6], [1, 2, 3], [-1, 6], [0, -1]])
def test_fixed_batch_in_a_reshape(target: list[int], make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        y = net("GlobalAveragePool", net.conv(x, 3, 6))
        return net("Reshape", y, net.const(np.array(target)))

    graph = read_graph(make_model(build, shape=(1, 3, 8, 8)))
    twin = build_twin(graph, graph.outputs)
    x = _noise(4, 3, 8, 8)
    together = twin(x)[graph.outputs[0]]
    alone = torch.cat([twin(row[None])[graph.outputs[0]] for row in x])
    assert together.shape == alone.shape
    assert torch.allclose(together, alone, atol=1e-6)


def test_fixed_batch_in_a_channel_shuffle_resize_and_token(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        y = net("Reshape", net.conv(x, 3, 4), net.const(np.array([1, 2, 2, 8, 8])))
        y = net("Reshape", net("Transpose", y, perm=[0, 2, 1, 3, 4]), net.const(np.array([1, 4, 8, 8])))
        y = net("Resize", y, "", "", net.const(np.array([1, 4, 4, 4])))
        y = net("Transpose", net("Reshape", y, net.const(np.array([1, 4, 16]))), perm=[0, 2, 1])
        return net("Concat", net.const(np.ones((1, 1, 4))), y, axis=1)

    graph = read_graph(make_model(build, shape=(1, 3, 8, 8)))
    twin = build_twin(graph, graph.outputs)
    x = _noise(3, 3, 8, 8)
    alone = torch.cat([twin(row[None])[graph.outputs[0]] for row in x])
    assert torch.allclose(twin(x)[graph.outputs[0]], alone, atol=1e-6)


def test_pictures_that_a_fixed_batch_loses_are_an_error(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        flat = net("Reshape", net("GlobalAveragePool", net.conv(x, 3, 6)), net.const(np.array([-1])))
        return net("Gather", flat, net.const(np.array([[0, 2, 4]])), out="y")

    twin = build_twin(read_graph(make_model(build, shape=(1, 3, 8, 8))), ["y"])
    assert twin(_noise(1, 3, 8, 8))["y"].shape == (1, 3)
    with pytest.raises(NotComputable, match=r"fixes its batch to 1: for 3 pictures tensor 'y' has shape \(1, 3\)"):
        twin(_noise(3, 3, 8, 8))


def test_as_strided_is_a_reshape(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        flat = net("Reshape", net("GlobalAveragePool", net.conv(x, 3, 6)), net.const(np.array([-1])))
        return net("Gather", flat, net.const(np.arange(6).reshape(1, 6, 1, 1)), out="y")

    graph = read_graph(make_model(build, shape=(1, 3, 8, 8)))
    assert build_twin(graph, ["y"])(_noise(3, 3, 8, 8))["y"].shape == (3, 6, 1, 1)
    verify_twin(build_twin(graph, ["y"]), graph, {"x": _noise(1, 3, 8, 8).numpy()})


def test_a_size_that_the_graph_fixes_is_an_error(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        return net("Gemm", net("Flatten", x), net.weight((192, 5)), name="fc")

    twin = build_twin(graph := read_graph(make_model(build)), graph.outputs)
    with pytest.raises(NotComputable, match=r"the Gemm node 'fc' fails on inputs of shape 1x300, 192x5"):
        twin(_noise(1, 3, 10, 10))
    with pytest.raises(UsageError, match="given 2 inputs and takes 1: x"):
        twin(_noise(1), _noise(1))


def _flattened(net: Net, x: str) -> str:
    y = net("Relu", net.conv(x, 3, 4), out="layer")
    batch = net("Unsqueeze", net("Gather", net("Shape", x), net.const(np.array(0))), net.const(np.array([0])))
    return net("Reshape", y, net("Concat", batch, net.const(np.array([-1])), axis=0), out="flat")


def test_a_head_that_reads_the_shape_of_the_picture(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_flattened, shape=("n", 3, "h", "w")))
    head = build_twin(graph, ["flat"], ["layer"])
    assert head.inputs == ("layer",)
    assert head(_noise(3, 4, 8, 8))["flat"].shape == (3, 256)


def test_a_head_that_reads_the_size_of_the_picture(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        y = net("Relu", net.conv(x, 3, 4, stride=2), out="layer")
        size = net("Slice", net("Shape", x), net.const(np.array([2])), net.const(np.array([4])))
        front = net("Slice", net("Shape", y), net.const(np.array([0])), net.const(np.array([2])))
        return net("Resize", y, "", "", net("Concat", front, size, axis=0), out="up")

    graph = read_graph(make_model(build, shape=(1, 3, 8, 8)))
    assert build_twin(graph, ["up"], ["layer"])(_noise(2, 4, 4, 4))["up"].shape == (2, 4, 8, 8)
    graph = read_graph(make_model(build, shape=(1, 3, "h", "w"), name="open.onnx"))
    with pytest.raises(NotComputable, match=r"reads the shape of 'x'.*shapes="):
        build_twin(graph, ["up"], ["layer"])
    twin = build_twin(graph, ["up"], ["layer"], shapes={"x": (1, 3, 10, 12)})
    assert twin(_noise(2, 4, 5, 6))["up"].shape == (2, 4, 10, 12)


def test_a_part_that_reads_the_picture_itself(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        return net("Add", net("Relu", net.conv(x, 3, 3), out="layer"), x, out="sum")

    twin = build_twin(read_graph(make_model(build)), ["sum"], ["layer"])
    assert twin.inputs == ("layer", "x")


def test_branches(make_model: MakeModel) -> None:
    def branch(op: str, name: str) -> Any:
        node = onnx.helper.make_node(op, ["layer"], [name])
        return onnx.helper.make_graph([node], name, [], [onnx.helper.make_tensor_value_info(name, 1, None)])

    def build(net: Net, x: str) -> str:
        net.conv(x, 3, 4, out="layer")
        wide = net("Greater", net("Gather", net("Shape", x), net.const(np.array(3))), net.const(np.array(9)))
        free = net("If", wide, then_branch=branch("Relu", "a"), else_branch=branch("Neg", "b"))
        fixed = net("If", net.const(np.array(True)), then_branch=branch("Abs", "c"), else_branch=branch("Neg", "d"))
        return net("Concat", free, fixed, axis=1, out="y")

    graph = read_graph(make_model(build, shape=(1, 3, "h", "w")))
    twin = build_twin(graph, ["y"])
    for width in (8, 12):
        verify_twin(twin, graph, {"x": _noise(1, 3, 8, width).numpy()})
    x = _noise(1, 3, 8, 12).requires_grad_()
    (plain,) = torch.autograd.grad(twin(x)["y"].sum(), x)
    with twin.leaky_backward():
        (leaky,) = torch.autograd.grad(twin(x)["y"].sum(), x)
    assert not torch.equal(plain, leaky)


def test_an_if_without_one_of_its_branches_is_refused(make_model: MakeModel) -> None:
    def build(net: Net, x: str) -> str:
        flag = net("Greater", net("ReduceSum", x, keepdims=0), net.const(np.float32(0)))
        node = onnx.helper.make_node("Relu", ["x"], ["a"])
        body = onnx.helper.make_graph([node], "a", [], [onnx.helper.make_tensor_value_info("a", 1, None)])
        return net("If", flag, then_branch=body, name="choice", out="y")

    with pytest.raises(ModelError, match="the If node 'choice' has no 'else_branch': the file is damaged"):
        build_twin(read_graph(make_model(build)), ["y"])


# --- backward rules -----------------------------------------------------------------------------------------------

DEAD = {
    "Relu": ({}, [-1.0, 2.0], [1.0, 1.0]),
    "Clip": ({"min": 0.0, "max": 6.0}, [-1.0, 7.0], [1.0, 1.0]),
    "HardSwish": ({}, [-4.0, 5.0], [1.0, 1.0]),
    "HardSigmoid": ({}, [-4.0, 0.0], [1.0, 0.2]),
    "ThresholdedRelu": ({"alpha": 1.0}, [0.5, 2.0], [1.0, 1.0]),
    "Shrink": ({"lambd": 0.5}, [0.1, 2.0], [1.0, 1.0]),
}


@pytest.mark.parametrize("op", DEAD)
def test_gradient_passes_dead_units(op: str, make_model: MakeModel) -> None:
    attributes, values, expected = DEAD[op]
    opset = 10 if op == "Clip" else 17
    graph = read_graph(make_model(lambda net, x: net(op, x, **attributes), shape=(2,), opset=opset))
    twin = build_twin(graph, graph.outputs)
    x = torch.tensor(values, requires_grad=True)

    def gradient() -> Any:
        (found,) = torch.autograd.grad(twin(x)[graph.outputs[0]].sum(), x)
        return found

    before, outside = twin(x)[graph.outputs[0]], gradient()
    assert outside[0] == 0
    with twin.leaky_backward():
        assert torch.equal(twin(x)[graph.outputs[0]], before)
        assert torch.allclose(gradient(), torch.tensor(expected))
        with twin.leaky_backward(0.25):
            assert gradient()[0] == 0.25
        assert gradient()[0] == 1
    assert torch.equal(gradient(), outside)


def test_rules_are_gone_after_an_error(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["logits"])
    before = twin._steps
    with pytest.raises(UsageError), twin.leaky_backward():
        twin()
    assert twin._steps is before
    with twin.leaky_backward():
        assert twin._steps is not before
    assert twin._steps is before


def test_guided_backpropagation_as_a_rule(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["stem", "logits"])
    x = _noise(1, 3, 8, 8).requires_grad_()
    with twin.modified_backward(lambda gradient, natural, x, dead: natural.clamp(min=0)):
        values = twin(x)
        (found,) = torch.autograd.grad(values["logits"].sum(), values["stem"], retain_graph=True)
        (deep,) = torch.autograd.grad(values["logits"].sum(), x)
    stem = build_twin(graph, ["logits"], ["stem"])
    with stem.modified_backward(lambda gradient, natural, x, dead: natural.clamp(min=0)):
        again = values["stem"].detach().requires_grad_()
        (expected,) = torch.autograd.grad(stem(again)["logits"].sum(), again)
    assert torch.allclose(found, expected, atol=1e-6)
    assert deep.abs().sum() > 0


# --- what it does not have, and what does not agree -------------------------------------------------------------------


def _with_unknown(net: Net, x: str) -> str:
    y = net("Relu", net.conv(x, 3, 4), out="fine")
    z = net("Bernoulli", net("Sigmoid", y, out="gate"), out="drawn", name="draw")
    return net("Add", net("Mul", y, z, out="masked"), y, out="sum")


def test_unsupported_operators_are_named_with_what_they_block(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_with_unknown))
    (found,) = find_unsupported(graph)
    assert (found.node, found.op, found.domain, found.opset) == ("draw", "Bernoulli", "", 17)
    assert found.blocks == ("drawn", "masked", "sum")
    with pytest.raises(TwinUnsupported, match=r"cannot compute 'sum': Bernoulli \(opset 17, node 'draw'\)") as caught:
        build_twin(graph, ["sum", "gate"])
    assert caught.value.nodes == (found,)
    assert caught.value.kind == "twin-unsupported"
    assert build_twin(graph, ["gate"])(_noise(1, 3, 8, 8))["gate"].shape == (1, 4, 8, 8)
    missing = read_graph(make_model(lambda net, x: net("Conv", x, net("Identity", ""), out="made"), name="none.onnx"))
    with pytest.raises(TwinUnsupported, match=r"cannot compute 'made': Identity .*: its first input is missing"):
        build_twin(missing, ["made"])


def test_integers_of_four_bits_keep_their_values() -> None:
    import ml_dtypes

    from inspector.twin.types import to_tensor

    values = np.array([-8, 0, 7])
    assert to_tensor(values.astype(ml_dtypes.int4)).tolist() == values.tolist()
    assert to_tensor(np.array([0, 15]).astype(ml_dtypes.uint4)).tolist() == [0, 15]


def test_damaged_nodes_are_named_and_fused_with_nothing(make_model: MakeModel) -> None:
    graph = read_graph(make_model(lambda n, x: n("Conv", x, n.weight((2, 3, 3, 3)), pads=[1, 1, 1], name="c")))
    (found,) = find_unsupported(graph)
    assert (found.node, found.reason) == ("c", "its attributes do not fit one another, or its inputs")
    # A product with an absent third factor is none of the patterns of activations. Running it tells what is wrong.
    graph = read_graph(make_model(lambda n, x: n("Mul", x, n("Sigmoid", x), "", out="y")))
    assert build_twin(graph, ["y"]) is not None


def test_unsupported_settings_are_named(make_model: MakeModel) -> None:
    graph = read_graph(make_model(lambda net, x: net("Pad", x, net.const(np.zeros(8, np.int64)), mode="strange")))
    assert [u.reason for u in find_unsupported(graph)] == ["padding mode 'strange'"]


def test_supported_operators_are_listed() -> None:
    names = list_supported_operators()
    assert {"Conv", "Resize", "Mish", "RoiAlign", "com.microsoft:FusedConv"} <= set(names)
    assert not any(name.startswith("inspector") for name in names)


def test_an_unknown_tensor(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match="no tensor named 'nowhere'"):
        build_twin(read_graph(make_model(_small)), ["nowhere"])


def test_agreement_is_measured(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["logits"])
    found = verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy()}, tensors=["body", "stem"])
    assert [a.layer for a in found] == ["stem", "body"]
    assert all(isinstance(a, Agreement) and a.ok and a.max_abs <= 1e-3 * a.scale for a in found)


def test_a_twin_that_differs_names_the_first_tensor(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["logits"])
    with torch.no_grad():
        twin.get_parameter("bn.gamma").mul_(1.5)
    with pytest.raises(
        TwinMismatch, match=r"differs from onnxruntime at tensor 'batchnormalization\d+'.* by "
    ) as caught:
        verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy()})
    error = caught.value
    assert error.kind == "twin-mismatch"
    assert "BatchNormalization node" in error.message
    assert "0.001 of its scale" in error.message
    assert "a tolerance of" in error.hint
    first = next(a for a in error.agreements if not a.ok)
    assert first.layer in error.message
    assert f"{first.max_abs:.3g}" in error.message


def test_comparing_nothing_is_a_failure(make_model: MakeModel) -> None:
    graph = read_graph(make_model(_small))
    twin = build_twin(graph, ["stem"])
    with pytest.raises(TwinMismatch, match="nothing was compared"):
        verify_twin(twin, graph, {"x": _noise(1, 3, 8, 8).numpy()}, tensors=["logits"])
    with pytest.raises(UsageError, match="no array for input x"):
        verify_twin(twin, graph, {})


def test_nan_does_not_agree() -> None:
    a, b = np.array([1.0, np.nan]), np.array([1.0, 2.0])
    assert not compare_layer("t", b, a).ok
    assert compare_layer("t", a, a).ok
    assert not compare_layer("t", b, a[:1]).ok
    assert compare_layer("t", b * 1.0005, b).ok
