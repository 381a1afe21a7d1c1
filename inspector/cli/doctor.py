"""`inspector doctor`: versions, providers, extras, what would run where."""

from __future__ import annotations

from inspector.cli.console import Console, JsonOption, ProviderOption, QuietOption, ThreadsOption, table


def doctor(
    json: JsonOption = False,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what is installed, what is missing, and what would run where."""
    from inspector.environment import examine

    console = Console("doctor", json, quiet)
    found = examine(provider, threads)
    console.document(console.head(None, model=None, **found))
    console.say(f"inspector on Python {found['python']} ({found['platform']}), {found['cores']} cores")
    console.say("")
    console.say(
        table(("package", "version", "for"), [(p["name"], p["version"] or "-", p["for"]) for p in found["packages"]])
    )
    console.say("")
    rows = [(p["name"], *("yes" if p[key] else "no" for key in ("built_in", "device"))) for p in found["providers"]]
    console.say(table(("provider", "built in", "device"), rows))
    console.say("")
    for line in found["advice"]:
        console.say(line)
