"""The onnx package, of which the command line loads only what it uses.

`from inspector import onnx` stands for `import onnx`. The package imports sixty modules more than the messages of a
file need, among them readers of archives and of mail: a twentieth of the time of a short command. In a process that
is the command line's own, the messages come alone, and the package where something else of it is asked for. In
everybody else's process this is the package.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Event, RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import (
        AttributeProto as AttributeProto,
    )
    from onnx import (
        GraphProto as GraphProto,
    )
    from onnx import (
        ModelProto as ModelProto,
    )
    from onnx import (
        NodeProto as NodeProto,
    )
    from onnx import (
        StringStringEntryProto as StringStringEntryProto,
    )
    from onnx import (
        TensorProto as TensorProto,
    )
    from onnx import (
        TensorShapeProto as TensorShapeProto,
    )
    from onnx import (
        ValueInfoProto as ValueInfoProto,
    )
    from onnx import (
        checker as checker,
    )
    from onnx import (
        defs as defs,
    )
    from onnx import (
        helper as helper,
    )
    from onnx import (
        numpy_helper as numpy_helper,
    )
    from onnx import (
        reference as reference,
    )

_MESSAGES, _COMPILED = "onnx.onnx_ml_pb2", "onnx.onnx_cpp2py_export"
_lock = RLock()
_alone = Event()
"""Set where parts may come without their package."""


def load_parts_alone() -> None:
    """From now on load the messages without the package; for a process in which nobody else uses it.

    Where somebody does after all, `import onnx` gives the package with these parts in it, but `onnx.onnx_ml_pb2` is no
    attribute of it until something of it was asked for here.
    """
    if "onnx" not in sys.modules:
        _alone.set()


def run_shape_inference(proto: ModelProto) -> ModelProto:
    """A copy of `proto` with the types and shapes that onnx infers; errors are those of onnx's own function."""
    compiled = _load_part(_COMPILED)
    if compiled is not None:
        made = type(proto)()
        # Not part of what onnx promises: where it looks different one day, the package is asked.
        with suppress(TypeError, AttributeError):
            # Neither types checked nor strict, data propagated: as the function of the package calls it.
            made.ParseFromString(compiled.shape_inference.infer_shapes(proto.SerializeToString(), False, False, True))
            return made
    found: ModelProto = _load_package().shape_inference.infer_shapes(proto, data_prop=True)
    return found


def get_schema(operator: str, opset: int) -> Any:
    """The schema of a standard operator; an error of onnx's own where there is none."""
    compiled = _load_part(_COMPILED)
    if compiled is not None:
        with suppress(TypeError, AttributeError):
            return compiled.defs.get_schema(operator, opset, "")
    return _load_package().defs.get_schema(operator, opset, "")


def _load_part(name: str) -> ModuleType | None:
    """A module of the package without the package; None where the package is there, or is to come as a whole."""
    if not _alone.is_set() or "onnx" in sys.modules:
        return None
    with _lock:
        if name in sys.modules:
            return sys.modules[name]
        package = find_spec("onnx")
        spec = PathFinder.find_spec(name, package.submodule_search_locations) if package is not None else None
        if spec is None or spec.loader is None:
            return None
        module = module_from_spec(spec)
        # Under its own name, so that the package finds it there when it is imported after all.
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _load_package() -> ModuleType:
    """The whole package; where another thread is importing it, when that is done."""
    with _lock:
        package = import_module("onnx")
        for name in (_MESSAGES, _COMPILED):
            # What was there before the package came is no attribute of it yet.
            if name in sys.modules:
                setattr(package, name.partition(".")[2], sys.modules[name])
        return package


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    messages = _load_part(_MESSAGES)
    value = getattr(messages, name, None) if messages is not None else None
    if value is None:
        value = getattr(_load_package(), name)
    globals()[name] = value
    return value
