"""onnxruntime: which provider, which session, and nothing run that was not asked for."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector import onnx
from inspector.errors import ModelError, one_line
from inspector.extras import catch_stderr
from inspector.graph import Cut, Graph
from inspector.records import record
from inspector.runtime.limits import check_sizes, measure_memory
from inspector.runtime.providers import (
    PROVIDERS,
    choose_providers,
    count_cores,
    load_accelerator,
    load_runtime,
    set_options,
)

ARENA_BYTES = 2 * 1024**3
"""What all graphs together may take whose sizes cannot be told before they are run."""
FOLDING_LIMIT = 64 * 1024 * 1024
"""Constants that onnxruntime may compute ahead, in bytes; a 144-byte graph can ask for gigabytes."""
KEPT_SESSIONS = 12
"""Sessions that are kept for the next picture; asking for every layer in turn would otherwise fill the memory."""
OptimisationLevel = Literal["all", "extended", "basic", "disabled"]
"""How far onnxruntime rewrites a graph before it runs it."""
_registered = False


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
        level: How far onnxruntime may rewrite the graph: all, extended, basic or disabled.
        fall_back: Whether the CPU is then taken; else it is an error.
        arena: Whether a session keeps the memory of its runs for the next one. Where sessions take turns, that of all
            of them adds up.
    """

    graph: Graph
    provider: str = "auto"
    threads: int | None = None
    warn: Callable[[str], None] = field(default=ignore, repr=False)
    level: OptimisationLevel = "all"
    arena: bool = True
    fall_back: bool = True
    _kept: OrderedDict[tuple[tuple[str, ...], tuple[str, ...] | None], Session] = field(
        default_factory=OrderedDict, repr=False
    )
    _judged: dict[tuple[tuple[str, ...], tuple[str, ...] | None], int] = field(default_factory=dict, repr=False)
    _fallen: bool = field(default=False, repr=False)

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
        providers = choose_providers("cpu" if self._fallen else self.provider)
        runtime = load_runtime(again=True)
        data = cut.proto.SerializeToString()
        session, why = None, ""
        if len(providers) > 1:
            session, why = self._accelerated(runtime, data, providers, bounded)
            if why:
                if not self.fall_back:
                    raise ModelError(f"{providers[0]} cannot be used: {why}", "see `inspector doctor`")
                self.warn(f"{providers[0]} cannot be used ({one_line(why, 120)}); running on CPU")
                self._fallen = True
        if session is None:
            try:
                session = self._session(runtime, data, [PROVIDERS["cpu"]], bounded)
            except Exception as error:  # onnxruntime raises bare Exception subclasses of its own
                raise ModelError(f"onnxruntime cannot load {self.graph.path}: {explain_run_failure(error)}") from None
        return Session(self.graph, cut, session)

    def _accelerated(self, runtime: ModuleType, data: bytes, providers: list[str], bounded: bool) -> tuple[Any, str]:
        """(a session on an accelerator or None, why there is none)."""
        load_accelerator(runtime, providers[0])
        try:
            # Without its libraries onnxruntime says so here alone, and quietly takes the CPU.
            with catch_stderr() as said:
                session = self._session(runtime, data, providers, bounded)
        except Exception as error:  # as above
            return None, explain_run_failure(error)
        return (session, "") if providers[0] in session.get_providers() else (None, explain_loading(said[0]))

    def _session(self, runtime: ModuleType, data: bytes, providers: list[str], bounded: bool) -> Any:
        _register_allocator(runtime)
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self.threads or count_cores()
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = self.arena
        words = {"disabled": "DISABLE_ALL"}
        levels, name = runtime.GraphOptimizationLevel, words.get(self.level, f"ENABLE_{self.level.upper()}")
        options.graph_optimization_level = getattr(levels, f"ORT_{name}")
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
        return runtime.InferenceSession(data, options, providers=set_options(providers), enable_fallback=0)


@record
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
            raise ModelError(f"onnxruntime cannot run {self.graph.path}: {explain_run_failure(error)}") from None
        return dict(zip(self.cut.outputs, arrays, strict=True))

    def _stand_in(self, name: str, batch: int) -> NDArray[Any]:
        spec = next(i for i in self.graph.inputs if i.name == name)
        sizes = [size if isinstance(size, int) else 1 for size in spec.shape or ()]
        return np.zeros((batch, *sizes[1:]), spec.dtype)


def explain_run_failure(error: Exception) -> str:
    """Say why onnxruntime failed, without its status codes, source files and C++ signatures."""
    text = one_line(str(error), 4000)
    if "bfc_arena" in text or "bad_alloc" in text or "Failed to allocate memory" in text:
        return "it asks for more memory than a graph of unknown sizes may have"
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    where = r"Non-zero status code returned while running (\w+) node\. Name:'(.*?)' Status Message: "
    text = re.sub(where, r"\1 \2: ", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? (?:.{0,200}? was false\. ?)?", "", text)
    return one_line(text, 400)


def explain_loading(said: str) -> str:
    """Say why a provider's library was not loaded, from what onnxruntime printed about it."""
    found = re.search(r"Failed to load library \S+ with error: ([^\n]*)", said)
    if found is not None:
        return one_line(found[1], 400)
    return "onnxruntime does not say why"


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
