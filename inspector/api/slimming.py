"""Smaller files with the same answers, and the check of their certificates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inspector.api.arguments import ModelSource, Warn, check_arguments
from inspector.api.model import to_model

if TYPE_CHECKING:
    from exporters.slimming import CheckedCertificate, SlimmedModel

File = str | os.PathLike[str]


# Wide: the options of `inspector slim`.
@check_arguments
def slim(
    model: ModelSource,
    out: File,
    *,
    certificate: File | None = None,
    data: File | Sequence[File] | None = None,
    also_unseen: bool = False,
    smallest: bool = False,
    provider: str = "auto",
    threads: int | None = None,
    warn: Warn | None = None,
) -> SlimmedModel:
    """Write a copy of a model without the channels that provably do nothing; needs no data and no torch.

    Every output is compared with that of the model. A difference above 1e-5 of its scale is an error, and then nothing
    is written.

    Args:
        model: The path of an .onnx file, or a model that is open.
        out: The file to write.
        certificate: A JSON file to write: what was cut, why, and what was measured; `check_slim` reads it.
        data: A folder of pictures, or their paths: compared too, and watched for channels that never change.
        also_unseen: Cut channels that never change on `data` too, though nothing proves that they never do.
        smallest: Cut channels also where that may make the network slower: runtimes compute them in blocks.
        provider: Where a path is given: auto, cpu, cuda, ...
        threads: Where a path is given: threads of onnxruntime; None takes all cores.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        The file that was written, what was cut from it, what looks dead and stays, and how far its outputs are apart.

    Raises:
        InspectorError: The model cannot be opened, an argument is wrong, an output would differ, or a file cannot be
            written.

    Example:
        >>> import onnx
        >>> import inspector
        >>> text = '''<ir_version: 8, opset_import: ["" : 17]>
        ... tiny (float[1,3,8,8] x) => (float[1,2,8,8] y)
        ... <float[3,3,1,1] first = {1,2,3, 0,0,0, 3,2,1}, float[2,3,1,1] second = {1,2,3, 3,2,1}>
        ... { a = Conv(x, first)  b = Relu(a)  y = Conv(b, second) }'''
        >>> onnx.save(onnx.parser.parse_model(text), folder / "tiny.onnx")
        >>> made = inspector.slim(folder / "tiny.onnx", folder / "slim.onnx", certificate=folder / "slim.json")
        >>> [(each.layer, each.channels, each.why) for each in made.cut]
        [('first', (1,), 'its filter is zero, so that it is constant')]
        >>> made.max_abs < 1e-5
        True
    """
    from exporters.slimming import slim_model

    opened = to_model(model, provider, threads, warn)
    return slim_model(
        opened, out, certificate=certificate, data=data, also_unseen=also_unseen, smallest=smallest, note=warn
    )


# Wide: how the two files are opened.
@check_arguments
def check_slim(
    file: File,
    certificate: File,
    *,
    model: ModelSource | None = None,
    provider: str = "auto",
    threads: int | None = None,
    allow_links: Sequence[File] = (),
    inputs: Mapping[str, Any] | None = None,
    warn: Warn | None = None,
) -> CheckedCertificate:
    """Check a slimmed file against its certificate: the digests, the proof of every cut, and the answers.

    Args:
        file: The slimmed file.
        certificate: The JSON file that `slim` wrote.
        model: The model that it was made from; None takes it from where the certificate says it is.
        provider: auto, cpu, cuda, ...
        threads: Threads of onnxruntime; None takes all cores.
        allow_links: Folders that links to external data of the models may lead into.
        inputs: Values of the models' inputs that are no picture, by name.
        warn: Gets a line where something is noteworthy but not wrong.

    Returns:
        What was found.

    Raises:
        InspectorError: A file is missing, or another one; a cut is not proven; or an output is too far apart.

    Example:
        >>> import onnx
        >>> import inspector
        >>> text = '''<ir_version: 8, opset_import: ["" : 17]>
        ... tiny (float[1,3,8,8] x) => (float[1,2,8,8] y)
        ... <float[3,3,1,1] first = {1,2,3, 0,0,0, 3,2,1}, float[2,3,1,1] second = {1,2,3, 3,2,1}>
        ... { a = Conv(x, first)  b = Relu(a)  y = Conv(b, second) }'''
        >>> onnx.save(onnx.parser.parse_model(text), folder / "tiny.onnx")
        >>> made = inspector.slim(folder / "tiny.onnx", folder / "slim.onnx", certificate=folder / "slim.json")
        >>> inspector.check_slim(folder / "slim.onnx", folder / "slim.json").sha256 == made.sha256
        True
    """
    from exporters.slimming import check_certificate

    return check_certificate(
        file, certificate, model, provider=provider, threads=threads, allow_links=allow_links, inputs=inputs or {},
        warn=warn,
    )  # fmt: skip
