"""`inspector doctor`: versions, providers, extras, what would run where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.cli.console import Console, JsonOption, ProviderOption, QuietOption, ThreadsOption, align_columns

if TYPE_CHECKING:
    from inspector.api.judge import Installation


def doctor(
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what is installed, what is missing, and what would run where."""
    from inspector import doctor as call

    console = Console("doctor", json, quiet)
    found = call(provider, threads)
    console.document(console.head(None, model=None, **vars(found)))
    console.say(show(found))


def show(found: Installation) -> str:
    """The same for people."""
    packages = [
        (p["name"], p["version"] or "-", "cannot be imported" if p["problem"] else p["for"]) for p in found.packages
    ]
    providers = [(p["name"], *("yes" if p[key] else "no" for key in ("built_in", "device"))) for p in found.providers]
    return "\n".join(
        [
            f"inspector on Python {found.python} ({found.platform}), {found.cores} cores",
            "",
            align_columns(("package", "version", "for"), packages),
            "",
            align_columns(("provider", "built in", "device"), providers),
            "",
            *found.advice,
        ]
    )
