"""Is a model fit to ship, and is this machine fit to run it?"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inspector.api.arguments import ModelSource, Progress, Warn, check_arguments
from inspector.errors import check_whole, wrong_type

if TYPE_CHECKING:
    from inspector.auditing import Audit, Policy, Snapshot

File = str | os.PathLike[str]


# Wide: the options of `inspector audit`.
# Long: each of them is explained.
@check_arguments
def audit(
    model: ModelSource,
    *,
    policy: File | Policy | None = None,
    data: File | None = None,
    against: ModelSource | Snapshot | None = None,
    save_snapshot: File | None = None,
    junit: File | None = None,
    sarif: File | None = None,
    markdown: File | None = None,
    seed: int | None = None,
    provider: str = "auto",
    threads: int | None = None,
    allow_links: Sequence[File] = (),
    inputs: Mapping[str, Any] | None = None,
    warn: Warn | None = None,
    on_progress: Progress | None = None,
) -> Audit:
    """Check a model before it ships: file, numerics, channels, answers, maps, drift, cost.

    Args:
        model: The path of an .onnx file, or a model that is open.
        policy: What is demanded: a TOML file or a Policy. None takes ``[tool.inspector.audit]`` of the pyproject.toml
            in the current folder, and the built-in policy where there is none.
        data: A folder of pictures, or of a scan; folders in it that are named after classes make them labelled.
        against: What drift and cost are measured from: a model or a snapshot.
        save_snapshot: Write a small file for a later `against`.
        junit: Write the result as JUnit XML.
        sarif: Write the result as SARIF 2.1.0.
        markdown: Write the result as Markdown.
        seed: Of noise and random masks, 0 or more; None takes the policy's.
        provider: auto, cpu, cuda, ...
        threads: Threads of onnxruntime; None takes all cores.
        allow_links: Folders that links to external data of the models may lead into.
        inputs: Values of the models' inputs that are no picture, by name.
        warn: Gets a line where something is noteworthy but not wrong.
        on_progress: Called with how many pictures are done, and how many there are.

    Returns:
        The verdict and every check. A notebook shows the verdict and what was found.

    Raises:
        InspectorError: There is no such file, an argument is wrong, or a report cannot be written. A model that is
            there and cannot be opened is a finding, not an error.

    Example:
        >>> import inspector
        >>> found = inspector.audit("models/efficientnet-lite0.onnx")
        >>> found.check("weights-finite").status
        'pass'
    """
    from inspector.auditing import audit_model
    from inspector.auditing.reports import check_targets, write_reports

    if not isinstance(model, str | os.PathLike) and not hasattr(model, "sha256"):
        raise wrong_type("a model", model, "give the path of an .onnx file, or an open model")
    if seed is not None:
        check_whole("seed", seed, 0)
    check_targets(junit, sarif, markdown, save_snapshot)
    found = audit_model(
        model, policy, data=data, against=against, save=save_snapshot, seed=seed, provider=provider, threads=threads,
        allow_links=allow_links, inputs=inputs, advance=on_progress, warn=warn,
    )  # fmt: skip
    write_reports(found, junit=junit, sarif=sarif, markdown=markdown)
    return found


@dataclass(frozen=True)
class Installation:
    """What is installed here, and what would run where.

    Attributes:
        python: Version of Python.
        platform: Operating system and processor.
        cores: Cores that this process may use.
        packages: `name`, `version` (None where it is not installed), `for` and `problem` (why it cannot be imported, or
            None) of each package.
        runtimes: The distributions of onnxruntime that are installed.
        runtime: `name` and `version` of the one whose files are imported; None where there is none.
        providers: `name`, `built_in` and `device` of each provider.
        chosen: The providers that a model would run on, first choice first.
        works: What can be done here: `inspect`, `twin`, `export`.
        advice: What to do, in sentences.
    """

    python: str
    platform: str
    cores: int
    packages: tuple[Mapping[str, Any], ...] = field(repr=False)
    runtimes: tuple[str, ...]
    runtime: Mapping[str, str] | None
    providers: tuple[Mapping[str, Any], ...] = field(repr=False)
    chosen: tuple[str, ...]
    works: Mapping[str, bool]
    advice: tuple[str, ...] = field(repr=False)

    def _repr_html_(self) -> str:
        from inspector.notebook import show_table

        rows = [(x["name"], x["version"] or "-", x["for"]) for x in self.packages]
        return show_table(("package", "version", "for"), rows, " ".join(f"{line}." for line in self.advice))


@check_arguments
def doctor(provider: str = "auto", threads: int | None = None) -> Installation:
    """Say what is installed, what is missing, and what would run where.

    Args:
        provider: What a command would be given: auto, cpu, cuda, ...
        threads: What a command would be given; None takes all cores.

    Returns:
        What was found. A notebook shows it as a table.

    Raises:
        UsageError: There is no such provider.

    Example:
        >>> import inspector
        >>> inspector.doctor().works["inspect"]
        True
    """
    from inspector.environment import examine

    found = examine(provider, threads)
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Installation(**fields)
