"""onnxruntime: which provider, which session, and nothing run that was not asked for."""

from inspector.runtime.blocks import measure_block
from inspector.runtime.distributions import RuntimePackage, find_imported, find_runtimes
from inspector.runtime.limits import MAX_TENSOR_BYTES, check_sizes, measure_memory, release_memory
from inspector.runtime.providers import (
    PROVIDERS,
    choose_providers,
    count_cores,
    has_device,
    load_runtime,
    name_device,
    shorten_provider,
)
from inspector.runtime.sessions import (
    ARENA_BYTES,
    FOLDING_LIMIT,
    KEPT_SESSIONS,
    OptimisationLevel,
    Session,
    Sessions,
    ignore,
)
from inspector.runtime.trial import try_provider

__all__ = [
    "ARENA_BYTES",
    "FOLDING_LIMIT",
    "KEPT_SESSIONS",
    "MAX_TENSOR_BYTES",
    "PROVIDERS",
    "OptimisationLevel",
    "RuntimePackage",
    "Session",
    "Sessions",
    "check_sizes",
    "choose_providers",
    "count_cores",
    "find_imported",
    "find_runtimes",
    "has_device",
    "ignore",
    "load_runtime",
    "measure_block",
    "measure_memory",
    "name_device",
    "release_memory",
    "shorten_provider",
    "try_provider",
]
