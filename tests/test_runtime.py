"""Which provider, how many threads, what is refused before it takes the memory, and both or no onnxruntime."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from PIL import Image

from inspector import open_model, runtime
from inspector.cli.app import run
from inspector.errors import MissingExtra, ModelError, UsageError
from inspector.extras import install_command
from inspector.runtime import distributions, limits, providers, sessions, trial
from tests.conftest import ROOT, MakeModel
from tests.foreign import Net

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ARRAY = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def simple(n: Net, x: str) -> str:
    return n("Relu", n.conv(x, 3, 4, out="c"), out="r")


# --- providers --------------------------------------------------------------------------------------------------------


def available(monkeypatch: pytest.MonkeyPatch, *names: str, devices: tuple[str, ...] = ()) -> None:
    module = SimpleNamespace(get_available_providers=lambda: [runtime.PROVIDERS[n] for n in names])
    monkeypatch.setattr(providers, "load_runtime", lambda: module)
    monkeypatch.setattr(providers, "has_device", lambda name: name == "cpu" or name in devices)


@pytest.mark.parametrize(
    ("names", "devices", "chosen"),
    [
        (("cpu",), (), [CPU]),
        (("cuda", "cpu"), (), [CPU]),  # onnxruntime-gpu lists CUDA on a machine without a GPU
        (("cuda", "cpu"), ("cuda",), [CUDA, CPU]),
        (("tensorrt", "cuda", "cpu"), ("tensorrt", "cuda"), [CUDA, CPU]),
        (("tensorrt", "cpu"), ("tensorrt",), [CPU]),
        (("openvino", "cpu"), ("openvino",), [CPU]),
        (("coreml", "cpu"), ("coreml",), ["CoreMLExecutionProvider", CPU]),
        (("directml", "cpu"), ("directml",), ["DmlExecutionProvider", CPU]),
        (("migraphx", "rocm", "cpu"), ("rocm", "migraphx"), ["MIGraphXExecutionProvider", CPU]),
    ],
)
def test_auto(
    names: tuple[str, ...], devices: tuple[str, ...], chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    available(monkeypatch, *names, devices=devices)
    assert runtime.choose_providers("auto") == chosen


def test_named_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, "tensorrt", "cuda", "cpu", devices=("tensorrt",))
    assert runtime.choose_providers("cpu") == [CPU]
    assert runtime.choose_providers("tensorrt") == ["TensorrtExecutionProvider", CPU]
    for name in ("CPU", "CPUExecutionProvider", "cpuexecutionprovider"):
        assert runtime.choose_providers(name) == [CPU]
    assert runtime.choose_providers("TensorRT") == runtime.choose_providers("tensorrt")
    assert runtime.choose_providers("AUTO") == [CPU]
    for name, message in (
        ("cuda", "no device for provider 'cuda' was found; use --provider cpu"),
        ("coreml", "this onnxruntime has no provider 'coreml'; it has: cpu, cuda, tensorrt"),
        (
            "tpu",
            "there is no provider 'tpu'; known: auto, cpu, cuda, tensorrt, migraphx, rocm, directml, coreml, openvino",
        ),
        ("", "there is no provider ''"),
    ):
        with pytest.raises(UsageError) as caught:
            runtime.choose_providers(name)
        assert str(caught.value).startswith(message)


def test_no_device_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(providers.ctypes, "CDLL", missing)
    assert not runtime.has_device("cuda")
    monkeypatch.setattr(providers.ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: 100))
    assert not runtime.has_device("cuda")

    def count(pointer: Any) -> int:
        pointer._obj.value = 2
        return 0

    monkeypatch.setattr(
        providers.ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=count)
    )
    assert runtime.has_device("cuda")
    assert runtime.has_device("cpu")
    assert runtime.name_device("cuda") == ""  # a driver that cannot say it

    def name(text: Any, size: int, number: int) -> int:
        text.value = b"Card 9000"
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGetCount=count, cuDeviceGetName=name)
    monkeypatch.setattr(providers.ctypes, "CDLL", lambda name: driver)
    assert runtime.name_device("cuda") == "Card 9000"
    assert runtime.name_device("cpu") == ""


def test_an_accelerator_that_fails_falls_back_in_one_line(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    real = runtime.Sessions._session

    def session(self: Any, module: Any, data: bytes, providers: list[str], bounded: bool) -> Any:
        if CUDA in providers:
            raise RuntimeError("libcudnn.so.9: cannot open\nshared object file")
        return real(self, module, data, providers, bounded)

    monkeypatch.setattr(sessions, "choose_providers", lambda name: [CUDA, CPU])
    monkeypatch.setattr(runtime.Sessions, "_session", session)
    model = open_model(make_model(simple), warn=lines.append)
    assert model.activations(ARRAY)
    assert lines == [f"{CUDA} cannot be used (libcudnn.so.9: cannot open shared object file); running on CPU"]
    assert capfd.readouterr() == ("", "")


class Quiet:
    """onnxruntime with CUDA built in whose libraries are missing: it says so on stderr alone, and takes the CPU."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def preload_dlls(self) -> None:
        print("Failed to load libcublas.so.13")

    def InferenceSession(self, data: bytes, options: Any, providers: list[Any], **more: Any) -> Any:  # noqa: N802
        self.asked.append(providers)
        if providers != [CPU]:
            reason = "libcublasLt.so.13: cannot open shared object file"
            os.write(2, f"1 : FAIL : Failed to load library /x/lib.so with error: {reason}\nNo CUDA\n".encode())
        return onnxruntime.InferenceSession(data, options, providers=[CPU], **more)


def test_an_accelerator_that_is_quietly_left_out_is_found(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    quiet = Quiet()
    monkeypatch.setattr(sessions, "choose_providers", lambda name: [CPU] if name == "cpu" else [CUDA, CPU])
    monkeypatch.setattr(sessions, "load_runtime", lambda again: quiet)
    model = open_model(make_model(simple), warn=lines.append)
    assert model.activations(ARRAY)
    assert model.activations(ARRAY, layers=["c"])
    why = "libcublasLt.so.13: cannot open shared object file"
    assert lines == [f"{CUDA} cannot be used ({why}); running on CPU"]
    # float32 is float32, and what failed once is not tried again.
    assert quiet.asked[0][0][0] == CUDA
    assert quiet.asked[0][0][1]["use_tf32"] == "0"
    assert len(quiet.asked) > 1
    assert all(asked == [CPU] for asked in quiet.asked[1:])
    named = runtime.Sessions(model.graph, "cuda", fall_back=False)
    with pytest.raises(ModelError, match=f"{CUDA} cannot be used: {why}"):
        named.run({"x": model.tensor(ARRAY)}, ["r"])
    monkeypatch.setattr(trial, "load_runtime", lambda again: quiet)
    assert runtime.try_provider(CUDA) == why
    assert runtime.try_provider(CPU) == ""
    assert capfd.readouterr() == ("", "")


def test_provider_of_a_model(make_model: MakeModel) -> None:
    path = make_model(simple)
    model = open_model(path, provider="cpu")
    session = model.sessions.session(["r"], None, {"x": model.tensor(ARRAY)})
    assert session.providers == [CPU]
    with pytest.raises(UsageError, match="there is no provider 'gpu'"):
        open_model(path, provider="gpu").activations(ARRAY)


# --- which onnxruntime is installed -----------------------------------------------------------------------------------


def test_both_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "_list_versions", lambda _: {"onnxruntime": "1.32", "onnxruntime-gpu": "1.32"})
    with pytest.raises(MissingExtra) as caught:
        runtime.load_runtime()
    assert str(caught.value) == (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; pip uninstall -y onnxruntime "
        f"onnxruntime-gpu, then install one: {install_command('cpu')} or {install_command('gpu')}"
    )


def test_none_is_installed(monkeypatch: pytest.MonkeyPatch, make_model: MakeModel) -> None:
    real = builtins.__import__

    def no_runtime(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return real(name, *rest, **more)

    monkeypatch.setattr(distributions, "_list_versions", lambda _: {})
    monkeypatch.setattr(builtins, "__import__", no_runtime)
    model = open_model(make_model(simple))  # what needs no run needs no runtime
    assert len(model.layers) == 2
    with pytest.raises(MissingExtra) as caught:
        model.activations(ARRAY)
    assert str(caught.value) == (
        f"onnxruntime is not installed; {install_command('cpu')}, or {install_command('gpu')} for a CUDA device"
    )


def test_a_broken_one_is_told_from_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def broken(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("DLL load failed")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(MissingExtra, match=r"onnxruntime cannot be loaded \(DLL load failed\); pip install"):
        runtime.load_runtime()


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_options(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    seen: list[Any] = []

    def session(data: bytes, options: Any, providers: list[str], enable_fallback: int) -> Any:
        seen.append((options, providers, enable_fallback))
        return real(data, options, providers=providers, enable_fallback=enable_fallback)

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for threads in (None, 1, 3):
        open_model(make_model(simple), threads=threads).activations(ARRAY)
        options, _, fallback = seen[-1]
        assert options.intra_op_num_threads == (threads or len(os.sched_getaffinity(0)))
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"
        assert options.get_session_config_entry("optimization.constant_folding_max_output_size_in_bytes") == "67108864"
        assert fallback == 0


def test_no_thread_spins_between_runs(make_model: MakeModel) -> None:
    model = open_model(make_model(simple), threads=2)
    model.activations(ARRAY)
    before = time.process_time()
    time.sleep(0.25)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_threads_out_of_range(threads: int, make_model: MakeModel) -> None:
    with pytest.raises(UsageError, match=rf"threads {threads} is not between 1 and 1024"):
        open_model(make_model(simple), threads=threads)


def test_sessions_are_kept_by_what_is_asked(make_model: MakeModel) -> None:
    model = open_model(make_model(simple))
    for _ in range(3):
        model.activations(ARRAY)
        model.activations(ARRAY, ["c"])
    assert len(model.sessions._kept) == 2


def test_nothing_is_printed(make_model: MakeModel, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(n: Net, x: str) -> str:
        return n("Reshape", n.conv(x, 3, 4), n.const(np.int64([7, 7])), out="r")

    model = open_model(make_model(broken))
    with pytest.raises(ModelError, match=r"onnxruntime cannot (load|run)"):
        model.run(model.tensor(ARRAY), ["r"])
    assert capfd.readouterr() == ("", "")


def test_idle_threads_do_not_spin(make_model: MakeModel) -> None:
    model = open_model(make_model(simple, shape=(1, 3, 64, 64)), threads=2)
    model.activations(ARRAY)
    before = time.process_time()
    for _ in range(5):
        model.activations(ARRAY)
        time.sleep(0.08)
    assert time.process_time() - before < 0.2


def test_reasons_are_for_people() -> None:
    raw = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Reshape node. Name:'head/Reshape' "
        "Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:91 onnxruntime::"
        "ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, bool) input_shape_size == size was false. The "
        "input tensor cannot be reshaped to the requested shape. Input shape:{1,4}, requested shape:{1,5}"
    )
    assert sessions.explain_run_failure(RuntimeError(raw)) == (
        "Reshape head/Reshape: The input tensor cannot be reshaped to the requested shape. Input shape:{1,4}, "
        "requested shape:{1,5}"
    )
    assert sessions.explain_run_failure(MemoryError("std::bad_alloc")).startswith("it asks for more memory")


# --- what would take the machine --------------------------------------------------------------------------------------


def on_top(n: Net, x: str, huge: str) -> str:
    """A convolution multiplied by the largest value of a huge tensor, so that every layer after it needs the tensor."""
    return n("Relu", n("Mul", n.conv(x, 3, 4), n("ReduceMax", huge, keepdims=0)), out="top")


def shape(n: Net, *sizes: int) -> str:
    return n.const(np.int64(sizes))


def from_picture(n: Net, x: str) -> str:
    """10^10, in a way that no one knows before the picture is there."""
    zero = n("Mul", n("ReduceMax", x, keepdims=0), n.const(np.float32(0)))
    return n("Reshape", n("Cast", n("Add", zero, n.const(np.float32(1e10))), to=7), shape(n, 1))


def loop(n: Net, x: str) -> str:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Concat", ["v", "v"], ["w"], axis=3)],
        "body",
        [info("i", 7, []), info("go", 9, []), info("v", 1, None)],
        [info("go_on", 9, []), info("w", 1, None)],
    )
    return n("Relu", n("Loop", n.const(np.int64(40)), "", n.conv(x, 3, 4), body=body), out="top")


def doubling(n: Net, x: str) -> str:
    for _ in range(40):
        x = n("Concat", x, x, axis=3)
    return n("Relu", x, out="top")


def constants(n: Net, x: str) -> str:
    sizes = shape(n, 16, 1024, 1024)
    total = n("ConstantOfShape", sizes)
    for _ in range(60):
        total = n("Add", total, n("ConstantOfShape", sizes))
    return on_top(n, x, total)


def outer(n: Net, x: str) -> str:
    column = n("Reshape", n("Tile", x, shape(n, 1, 1, 30, 30)), shape(n, -1, 1))
    return on_top(n, x, n("MatMul", column, n("Transpose", column, perm=[1, 0])))


BOMBS: dict[str, Any] = {
    "ConstantOfShape": lambda n, x: on_top(n, x, n("ConstantOfShape", shape(n, 50_000, 50_000, 10))),
    "ConstantOfShape of the picture": lambda n, x: on_top(n, x, n("ConstantOfShape", from_picture(n, x))),
    "Tile": lambda n, x: n("Relu", n("Tile", x, shape(n, 1, 1, 10_000, 10_000)), out="top"),
    "Tile of a constant": lambda n, x: on_top(n, x, n("Tile", n.const(np.ones((1, 1))), shape(n, 10**5, 10**5))),
    "Expand": lambda n, x: on_top(n, x, n("Expand", n("ReduceMean", x, axes=[2, 3]), shape(n, 1, 3, 10**5, 10**5))),
    "Expand by the picture": lambda n, x: on_top(n, x, n("Expand", n.const(np.ones(1)), from_picture(n, x))),
    "Resize": lambda n, x: n("Relu", n("Resize", x, "", n.const(np.float32([1, 1, 10_000, 10_000]))), out="top"),
    "Pad": lambda n, x: n("Relu", n("Pad", x, shape(n, 0, 0, 0, 0, 0, 0, 10**5, 10**5)), out="top"),
    "padding of a convolution": lambda n, x: n(
        "Relu", n("Conv", x, n.weight((4, 3, 3, 3)), pads=[10**5] * 4), out="top"),
    "ConvTranspose": lambda n, x: n(
        "Relu", n("ConvTranspose", x, n.weight((3, 4, 3, 3)), strides=[20_000] * 2), out="top"),
    "RandomNormal": lambda n, x: on_top(n, x, n("RandomNormal", shape=[10**5, 10**5])),
    "Range": lambda n, x: on_top(n, x, n("Cast", n("Range", *[n.const(np.int64(v)) for v in (0, 10**11, 1)]), to=1)),
    "OneHot": lambda n, x: on_top(
        n, x, n("OneHot", n("Cast", x, to=7), n.const(np.int64(10**8)), n.const(np.float32([0, 1])))),
    "outer product": outer,
    "doubling": doubling,
    "a loop that doubles": loop,
    "many constants": constants,
}  # fmt: skip

RUN = """
import resource, sys
import numpy as np
from inspector import open_model
from inspector.errors import ModelError
for path in sys.argv[1:]:
    try:
        model = open_model(path)
        model.run(model.tensor(np.zeros((8, 8, 3), np.uint8)), ["top"])
        print("ran", path)
    except ModelError as error:
        print(f"refused {error}")
    sys.stdout.flush()
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])
"""


def test_memory_bombs(make_model: MakeModel) -> None:
    """Seventeen small files that ask for tens of gigabytes get neither the memory nor the time."""
    paths = [make_model(build, name=f"{i}.onnx", opset=13) for i, build in enumerate(BOMBS.values())]
    assert all(path.stat().st_size < 12_000 for path in paths)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, paths)], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    *lines, peak = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert done.stderr == ""
    for name, line in zip(BOMBS, lines, strict=True):
        assert line.startswith("refused "), (name, line)
        assert "asks for a tensor of" in line or "asks for more memory" in line or "GB of constants" in line, (
            name,
            line,
        )
    assert (
        int(peak) < 2_500_000
    )  # KiB; the loop stops at the limit for graphs of unknown sizes, the others below 200 MB
    assert time.perf_counter() - start < 30


def test_more_layers_than_memory(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(make_model(simple))
    monkeypatch.setattr(limits, "measure_memory", lambda: 2000)
    with pytest.raises(ModelError, match=r"takes 0.0 GB, this machine has 0.0; ask for fewer layers at once"):
        model.activations(ARRAY)
    monkeypatch.undo()
    assert runtime.measure_memory() > 10**8


def test_sizes_that_are_known_have_no_limit_of_the_arena(make_model: MakeModel) -> None:
    model = open_model(make_model(simple, shape=("n", 3, "h", "w")))
    cut = model.graph.cut(["r"])
    assert runtime.check_sizes(model.graph, cut, {"x": (1, 3, 8, 8)})
    assert not runtime.check_sizes(model.graph, cut, {})


def test_onnxruntime_says_nothing_on_its_own(
    make_model: MakeModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Older files list their initializers among the inputs, which onnxruntime warns of in colours; errors are ours."""
    net = Net()
    y = net("Relu", net.bn(net.conv(net.input("x", ("N", 3, 16, 16)), 3, 8), 8), out="r")
    y = net("Softmax", net("Gemm", net("Flatten", net("GlobalAveragePool", y)), net.weight((8, 4))))
    path = make_model(net.model(y, shapes={y: ("N", 4)}, weights_as_inputs=True))
    onnxruntime.InferenceSession(path)
    assert "[W:onnxruntime" in capfd.readouterr().err  # it does warn of this file
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(pictures / "a.png")
    out = tmp_path / "out.onnx"
    for command in (("predict", path, pictures), ("quantize", path, "-o", out, "--calibrate", pictures)):
        assert run([str(x) for x in command]) == 0
        said = capfd.readouterr().err
        assert "[W:onnxruntime" not in said, command
        assert "\x1b" not in said, command

    def broken(n: Net, x: str) -> str:
        return n("Reshape", x, n.const([7, 7], dtype=np.int64))

    assert run(["predict", str(make_model(broken, outputs=None, name="broken.onnx")), str(pictures)]) == 2
    said = capfd.readouterr().err
    assert said.startswith("inspector: ")
    assert "\x1b" not in said
