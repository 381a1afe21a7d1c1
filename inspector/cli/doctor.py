"""`inspector doctor`: versions, providers, extras, what would run where."""

from __future__ import annotations

from inspector.cli.console import Console, JsonOption, QuietOption, table


def doctor(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say what is installed, what is missing, and what would run where."""
    from inspector.doctor import examine

    console = Console("doctor", json, quiet)
    found = examine()
    console.document(console.head(None, model=None, **found))
    console.say(f"inspector on Python {found['python']} ({found['platform']}), {found['cores']} cores")
    console.say("")
    console.say(
        table(("package", "version", "for"), [(p["name"], p["version"] or "-", p["for"]) for p in found["packages"]])
    )
    console.say("")
    console.say(
        table(("provider", "built in", "device"), [(p["name"], p["built_in"], p["device"]) for p in found["providers"]])
    )
    console.say("")
    for line in found["advice"]:
        console.say(line)
