"""Which tensors an answer is made of."""

from __future__ import annotations

from inspector.model.model import Model


def list_answers(model: Model) -> list[str]:
    """List the tensors that have to be run for one answer: of a network that answers nothing known, all outputs."""
    if model.classifier is not None:
        return [model.classifier.scores]
    return list(model.decoder.outputs if model.decoder is not None else model.graph.outputs)
