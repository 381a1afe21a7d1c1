"""What is frozen, computed once for every picture of a run and kept in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from exporters.finetuning import cache as caching
from exporters.finetuning.context import PreparedRun, RunContext
from exporters.finetuning.features import digest_weights, fill, list_rows, name_row
from inspector.errors import InspectorError, NotComputable
from inspector.image import open_image


@contextmanager
def fill_cache(prepared: PreparedRun, context: RunContext) -> Iterator[tuple[caching.CacheEntry, tuple[int, ...]]]:
    """Fill the cache with every row that a run needs, and keep them until the end of the block.

    Yields:
        The entry of the cache, and the shape (1, C, H, W) of the network's input.
    """
    model, dataset, options, note = prepared.model, prepared.dataset, prepared.options, context.note
    boundary, features = prepared.boundary, prepared.head.features
    tensors = list(dict.fromkeys((*(boundary.tensors if boundary else ()), features)))
    probe = model.preprocess.tensor(open_image(dataset.train[0].path))
    values = model.run(probe, tensors)
    for name, value in values.items():
        if value.ndim < 2 or len(value) != 1:
            shape = ", ".join(map(str, value.shape))
            raise NotComputable(
                f"{name!r} of {prepared.base.spec} has no row for each picture: its shape is ({shape}) for one",
                "export the base with a batch axis",
            )
    key = {
        "weights": digest_weights(model.graph, tensors),
        "preprocess": model.preprocess.to_json(),
        "augment": list(options.augment),
        "seed": options.augment_seed,
        "schema": 1,
    }
    names = [name_row(s, v) for s, v in list_rows(dataset.train, dataset.val, options.versions)]
    rows = len(names)
    kinds = dict.fromkeys(tensors, options.cache_dtype) | {features: "float32"}
    for _ in range(2):
        columns = [caching.Column(t, tuple(values[t].shape[1:]), kinds[t]) for t in tensors]
        with caching.open_entry(context.cache, key, columns, names, context.cache_limit, note) as entry:
            try:
                fill(
                    entry, model, dataset.train, dataset.val, options.versions, options,
                    lambda done, total: context.progress("computing what is frozen", done, total),
                )  # fmt: skip
            except OverflowError as error:
                note(f"{error} goes beyond what float16 holds: stored as float32")
                kinds = dict.fromkeys(tensors, "float32")
                continue
            entry.stop_filling()
            note(
                f"{rows} rows of {caching.estimate_gigabytes(columns, 1) * 1e6:.0f} kB "
                f"({caching.estimate_gigabytes(columns, rows):.2f} GB); {entry.computed} computed, "
                f"{rows - entry.computed} were there"
            )
            yield entry, tuple(probe.shape)
            return
    raise InspectorError("the activations cannot be stored")
