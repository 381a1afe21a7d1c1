"""onnxruntime: which provider, which session, and nothing run that was not asked for."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inspector.errors import MissingExtra, ModelError, UsageError, one_line
from inspector.extras import install_command
from inspector.graph import Cut, Graph, infer_types, node_inputs, shape_of

MAX_TENSOR_BYTES = 2 * 1024**3
"""No single tensor of a network that looks at pictures is this large; a graph that makes one is refused."""

ARENA_BYTES = 2 * 1024**3
"""What all graphs together may take whose sizes cannot be told before they are run."""

FOLDING_LIMIT = 64 * 1024 * 1024
"""Constants that onnxruntime may compute ahead, in bytes; a 144-byte graph can ask for gigabytes."""

KEPT_SESSIONS = 12
"""Sessions that are kept for the next picture; asking for every layer in turn would otherwise fill the memory."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Names for --provider."""

_HARM = "no picture network needs this; the file may be damaged or made to harm"
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_EIGHT_BYTES = frozenset(
    {onnx.TensorProto.INT64, onnx.TensorProto.UINT64, onnx.TensorProto.DOUBLE, onnx.TensorProto.COMPLEX128}
)
_registered = False


def find_runtimes() -> list[str]:
    """Find the installed distributions that provide onnxruntime; more than one overwrite each other's files."""
    from importlib import metadata

    found = []
    for name in _RUNTIMES:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def load_runtime() -> ModuleType:
    """Import onnxruntime.

    Returns:
        The module.

    Raises:
        MissingExtra: It is not installed, cannot be loaded, or is installed twice.
    """
    installed = find_runtimes()
    if len(installed) > 1:
        raise MissingExtra(
            f"{' and '.join(installed)} are both installed and overwrite each other",
            f"pip uninstall -y {' '.join(installed)}, then install one: {install_command('cpu')} "
            f"or {install_command('gpu')}",
        )
    # From 1.32 on the runtime keeps a database of events under the user's cache, starts a thread for it and looks up a
    # host. Nothing leaves the machine here, unless the user has said otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        module: ModuleType = onnxruntime
    except ImportError as error:
        why = "is not installed" if error.name == "onnxruntime" and not installed else f"cannot be loaded ({error})"
        raise MissingExtra(
            f"onnxruntime {why}", f"{install_command('cpu')}, or {install_command('gpu')} for a CUDA device"
        ) from None
    return module


def has_device(provider: str) -> bool:
    """Whether the device that an accelerator's provider needs is really there; a listed provider proves nothing."""
    if provider == "cpu":
        return True
    if provider in ("cuda", "tensorrt"):
        return _cuda_devices() > 0
    if provider in ("rocm", "migraphx"):
        return Path("/dev/kfd").exists()
    if provider == "directml":
        return sys.platform == "win32"
    if provider == "coreml":
        return sys.platform == "darwin"
    return provider == "openvino"


def _cuda_devices() -> int:
    """Number of CUDA devices by the driver itself, without loading any CUDA library of a package."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def choose_providers(name: str = "auto") -> list[str]:
    """Choose the providers of onnxruntime.

    Args:
        name: A key of PROVIDERS; or auto, which takes an accelerator that is built in and has a device.

    Returns:
        onnxruntime's own names in order of preference; the CPU always comes last.

    Raises:
        UsageError: The name is unknown, not built in, or its device is not there.
        MissingExtra: onnxruntime is not installed.
    """
    runtime = load_runtime()
    available = runtime.get_available_providers()
    cpu = PROVIDERS["cpu"]
    if name == "auto":
        # OpenVINO and TensorRT change numerics and compile for minutes: only when asked for.
        automatic = ("cuda", "migraphx", "rocm", "directml", "coreml")
        found = next((PROVIDERS[p] for p in automatic if PROVIDERS[p] in available and has_device(p)), None)
        return [found, cpu] if found else [cpu]
    if name not in PROVIDERS:
        raise UsageError(f"there is no provider {name!r}", f"known: auto, {', '.join(PROVIDERS)}")
    if PROVIDERS[name] not in available:
        raise UsageError(
            f"this onnxruntime has no provider {name!r}",
            f"it has: {', '.join(k for k, v in PROVIDERS.items() if v in available)}",
        )
    if not has_device(name):
        raise UsageError(f"no device for provider {name!r} was found", "use --provider cpu")
    return [PROVIDERS[name]] if name == "cpu" else [PROVIDERS[name], cpu]


def count_cores() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ignore(line: str) -> None:
    """Takes a warning and does nothing; where nobody wants to hear them."""


@dataclass
class Sessions:
    """The sessions of one graph, made when first needed; the last KEPT_SESSIONS are kept, by what is asked of them.

    Attributes:
        graph: The graph that is cut for each session.
        provider: As for :func:`choose_providers`.
        threads: Threads for one operator; None takes all cores that this process may use.
        warn: Gets a line when an accelerator cannot be used after all.
        optimise: Whether onnxruntime may rewrite the graph.
    """

    graph: Graph
    provider: str = "auto"
    threads: int | None = None
    warn: Callable[[str], None] = field(default=ignore, repr=False)
    optimise: bool = True
    _kept: OrderedDict[tuple[tuple[str, ...], tuple[str, ...] | None], Session] = field(
        default_factory=OrderedDict, repr=False
    )
    _judged: dict[tuple[tuple[str, ...], tuple[str, ...] | None], int] = field(default_factory=dict, repr=False)

    def run(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute tensors of the graph, and only what they depend on.

        Args:
            feeds: Name of a graph input -> array.
            tensors: Names of tensors of the graph.

        Returns:
            Tensor name -> array.

        Raises:
            ModelError: onnxruntime cannot load or run the graph, or it asks for more memory than is allowed.
        """
        return self.session(tensors, None, feeds).run(feeds)

    def run_from(self, feeds: Mapping[str, NDArray[Any]], tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute tensors with the graph cut open in the middle.

        The batch of the feeds is free where the graph allows it. Where the rest reads the *shape* of the picture, a
        picture of zeros with the batch of the feeds stands in.

        Args:
            feeds: Name of a tensor of the graph -> its value.
            tensors: Names of tensors that follow from them.

        Returns:
            Tensor name -> array.

        Raises:
            ModelError: The rest reads the picture itself, or as for :meth:`run`.
        """
        return self.session(tensors, tuple(feeds), feeds).run(feeds)

    def session(
        self, tensors: Sequence[str], inputs: tuple[str, ...] | None, feeds: Mapping[str, NDArray[Any]]
    ) -> Session:
        """Find or make the session that computes some tensors.

        Args:
            tensors: What it gives.
            inputs: The tensors that it starts from; None means the graph's own inputs.
            feeds: Arrays to judge the sizes of all tensors by; nothing is run.
        """
        key = (tuple(dict.fromkeys(tensors)), inputs)
        elements = sum(array.size for array in feeds.values())
        if key not in self._kept:
            self._kept[key] = self._open(self.graph.cut(key[0], inputs), feeds)
        elif elements > self._judged[key]:
            check_sizes(self.graph, self._kept[key].cut, {name: array.shape for name, array in feeds.items()})
        self._judged[key] = max(elements, self._judged.get(key, 0))
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_SESSIONS:
            # Each holds its own packed copy of the weights.
            oldest, _ = self._kept.popitem(last=False)
            del self._judged[oldest]
        return self._kept[key]

    def _open(self, cut: Cut, feeds: Mapping[str, NDArray[Any]]) -> Session:
        if cut.leftover and not cut.shape_only:
            raise ModelError(
                f"the part of {self.graph.path.name} after {', '.join(cut.inputs)} still reads the picture",
                "choose a layer that everything passes through",
            )
        for value in cut.proto.graph.input:
            # A tensor in the middle has no declared type in most files, and an input must have one.
            if value.name in feeds and not value.type.tensor_type.elem_type:
                value.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(feeds[value.name].dtype)
        for value in cut.proto.graph.output:
            value.ClearField("type")  # it is inferred; what the file says may be wrong after a conversion to float16
        bounded = check_sizes(self.graph, cut, {name: array.shape for name, array in feeds.items()})
        self.graph.check_unchanged()
        runtime = load_runtime()
        providers = choose_providers(self.provider)
        data = cut.proto.SerializeToString()
        try:
            session = self._session(runtime, data, providers, bounded)
        except Exception as error:  # onnxruntime raises bare Exception subclasses of its own
            if len(providers) == 1:
                raise ModelError(f"onnxruntime cannot load {self.graph.path}: {explain_failure(error)}") from None
            self.warn(f"{providers[0]} cannot be used ({one_line(explain_failure(error), 120)}); running on CPU")
            try:
                session = self._session(runtime, data, [PROVIDERS["cpu"]], bounded)
            except Exception as again:  # as above
                raise ModelError(f"onnxruntime cannot load {self.graph.path}: {explain_failure(again)}") from None
        return Session(self.graph, cut, session)

    def _session(self, runtime: ModuleType, data: bytes, providers: list[str], bounded: bool) -> Any:
        _register_allocator(runtime)
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self.threads or count_cores()
        options.inter_op_num_threads = 1
        if not self.optimise:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        for key, value in (
            # Weights are references into the file: see inspector.graph.
            ("session.model_external_initializers_file_folder_path", str(self.graph.folder)),
            # Threads that wait by spinning are a fifth quicker; between runs they would keep the cores busy.
            ("session.force_spinning_stop", "1"),
            # The arena with a limit, for graphs that may turn out to want any amount.
            ("session.use_env_allocators", "0" if bounded else "1"),
            ("optimization.constant_folding_max_output_size_in_bytes", str(FOLDING_LIMIT)),
        ):
            options.add_session_config_entry(key, value)
        return runtime.InferenceSession(data, options, providers=providers, enable_fallback=0)


@dataclass(frozen=True)
class Session:
    """One onnxruntime session over one part of a graph."""

    graph: Graph
    cut: Cut
    handle: Any = field(repr=False)

    @property
    def providers(self) -> list[str]:
        """The providers in use, in order of preference."""
        names: list[str] = self.handle.get_providers()
        return names

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once.

        Args:
            feeds: Name of an input -> array.

        Returns:
            Tensor name -> array, in the order that was asked for.

        Raises:
            ModelError: onnxruntime cannot run it; the message has its reason.
        """
        values = {name: feeds[name] for name in self.cut.inputs}
        for name in self.cut.leftover:
            values[name] = self._stand_in(name, next(iter(feeds.values())).shape[0])
        try:
            arrays = self.handle.run(None, values)
        except Exception as error:  # onnxruntime raises bare Exception subclasses of its own
            raise ModelError(f"onnxruntime cannot run {self.graph.path}: {explain_failure(error)}") from None
        return dict(zip(self.cut.outputs, arrays, strict=True))

    def _stand_in(self, name: str, batch: int) -> NDArray[Any]:
        spec = next(i for i in self.graph.inputs if i.name == name)
        sizes = [size if isinstance(size, int) else 1 for size in spec.shape or ()]
        return np.zeros((batch, *sizes[1:]), spec.dtype)


def explain_failure(error: Exception) -> str:
    """Say why onnxruntime failed, without its status codes, source files and C++ signatures."""
    text = one_line(str(error), 4000)
    if "bfc_arena" in text or "bad_alloc" in text or "Failed to allocate memory" in text:
        return "it asks for more memory than a graph of unknown sizes may have"
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    where = r"Non-zero status code returned while running (\w+) node\. Name:'(.*?)' Status Message: "
    text = re.sub(where, r"\1 \2: ", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? (?:.{0,200}? was false\. ?)?", "", text)
    return one_line(text, 400)


def check_sizes(graph: Graph, cut: Cut, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Judge before a run how much memory it takes.

    Args:
        graph: The graph, for messages.
        cut: The part of it that is to be run.
        shapes: Name of an input -> its shape.

    Returns:
        Whether the sizes of all tensors are known.

    Raises:
        ModelError: A tensor or all computed constants exceed MAX_TENSOR_BYTES, or the outputs half of the memory.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(cut.proto)
    for value in probe.graph.input:
        if value.name in shapes:
            tensor = value.type.tensor_type
            del tensor.shape.dim[:]
            for size in shapes[value.name]:
                tensor.shape.dim.add().dim_value = size
    sizes: dict[str, int] = {}
    for value in infer_types(probe):
        shape = shape_of(value)
        if shape is None or not all(isinstance(size, int) for size in shape):
            continue
        kind = value.type.tensor_type.elem_type
        # Four bytes are right for all other kinds that matter here.
        size = math.prod(int(part or 0) for part in shape) * (8 if kind in _EIGHT_BYTES else 4)
        if size > MAX_TENSOR_BYTES:
            raise ModelError(
                f"{graph.path} asks for a tensor of {size / 1e9:.0f} GB ({value.name!r}, {list(shape)})",
                _HARM,
            )
        sizes[value.name] = size
    constant = {t.name for t in probe.graph.initializer}
    computed = 0
    for node in probe.graph.node:
        if all(name in constant for name in node_inputs(node)):
            constant.update(node.output)
            computed += sum(sizes.get(name, 0) for name in node.output)
    if computed > MAX_TENSOR_BYTES:
        raise ModelError(f"{graph.path} computes {computed / 1e9:.0f} GB of constants", _HARM)
    total, memory = sum(sizes.get(name, 0) for name in cut.outputs), measure_memory()
    if total > memory / 2:
        raise ModelError(
            f"what is asked of {graph.path} takes {total / 1e9:.1f} GB, this machine has {memory / 1e9:.1f}",
            "ask for fewer layers at once, or give a smaller picture",
        )
    return all(name in sizes for node in probe.graph.node for name in node.output if name)


def measure_memory() -> int:
    """Measure the memory that this process may count on, in bytes: the machine's, or its container's limit."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        memory = 8 * 1024**3
    with suppress(OSError, ValueError):  # no such file, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def _register_allocator(runtime: ModuleType) -> None:
    """One CPU arena with a limit, so that a runaway graph gets an error and not the whole machine."""
    global _registered
    if _registered:
        return
    _registered = True
    info = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    # -1 takes onnxruntime's default for the arena's growth.
    limit = min(ARENA_BYTES, measure_memory() // 2)
    runtime.create_and_register_allocator(info, runtime.OrtArenaCfg(limit, -1, -1, -1))
