"""The version, in one place: `pyproject.toml` and every record of what made a file read it here."""

__version__ = "0.2.0"
