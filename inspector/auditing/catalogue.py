"""All checks: ours by their folder, other people's by their entry points."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from inspector.auditing.registry import PACKAGE, Check, registered
from inspector.errors import UsageError

GROUP = "inspector.checks"
"""The entry points by which installed packages bring checks of their own."""

FAMILIES = ("file", "numerics", "representation", "behaviour", "explanation", "drift", "cost")
"""The order of the families in reports. A family of another name comes after them."""

FOLDER = Path(__file__).with_name("checks")

_loaded: set[str] = set()


def find_check_files(folder: Path = FOLDER) -> dict[str, tuple[str, str]]:
    """(family, file name without .py) by check id, found by looking into the folders alone: nothing is imported.

    A name that begins with an underscore is a helper and no check.

    Raises:
        UsageError: A file stands in no family, or two families have a file of the same name.
    """
    found: dict[str, tuple[str, str]] = {}
    families = _find_families(folder)
    for family in sorted(families, key=_place):
        for entry in sorted(pkgutil.iter_modules([str(folder / family)]), key=lambda entry: entry.name):
            if entry.name.startswith("_"):
                continue
            id = entry.name.replace("_", "-")
            if id in found:
                raise UsageError(f"two checks are called {id!r}: {found[id][0]}/{found[id][1]}.py and {family}/{id}.py")
            found[id] = family, entry.name
    return found


def _find_families(folder: Path) -> list[str]:
    """The folders of checks. What would never be found is an error: a check that silently stays away is worse."""
    entries = list(pkgutil.iter_modules([str(folder)]))
    families = [entry.name for entry in entries if entry.ispkg]
    for entry in entries:
        if not entry.ispkg and not entry.name.startswith("_"):
            raise UsageError(
                f"{folder.name}/{entry.name}.py stands in no family",
                f"move it to {folder.name}/FAMILY/{entry.name}.py; a helper is called _{entry.name}.py",
            )
    for name in sorted({path.parent.name for path in folder.glob("[!_]*/*.py")} - set(families)):
        raise UsageError(f"the family {folder.name}/{name} has no __init__.py", "add one with a line of docstring")
    return families


def load_check_files(names: Iterable[tuple[str, str]], package: str = PACKAGE) -> None:
    """Import the modules of checks, (family, file name) each.

    Raises:
        UsageError: A file does not register exactly one check, that of its own name.
    """
    for family, name in names:
        module = f"{package}.{family}.{name}"
        if module in _loaded:
            continue
        import_module(module)
        ids = [id for id, check in registered.items() if check.run.__module__ == module]
        if len(ids) != 1:
            raise UsageError(
                f"{family}/{name}.py registers {len(ids)} checks{': ' + ', '.join(ids) if ids else ''}",
                f"a file holds one function below @check and is called after it; a helper is called _{name}.py",
            )
        _loaded.add(module)


def find_builtin_checks() -> dict[str, Check]:
    """Our own checks by id, in the order of the families and then of their names."""
    files = find_check_files()
    load_check_files(files.values())
    return {id: registered[id] for id in files}


def find_checks() -> dict[str, Check]:
    """All checks by id: ours in the order of the families, then those of the installed entry points.

    Raises:
        UsageError: An entry point cannot be loaded: a check that silently stays away is worse.
    """
    found = find_builtin_checks()
    if GROUP not in _loaded:
        _load_entry_points()
        _loaded.add(GROUP)
    everything = {**found, **registered}
    return dict(sorted(everything.items(), key=lambda item: _place(item[1].family)))


def _load_entry_points() -> None:
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            point.load()
        except UsageError:
            raise
        except Exception as error:  # whatever a stranger's module raises when it is imported
            raise UsageError(
                f"the checks {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
                f"repair or uninstall the package that has this entry point of {GROUP}",
            ) from error


def _place(family: str) -> int:
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
