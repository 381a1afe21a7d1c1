"""Pages of the site that are files of the root: README.md, CONTRIBUTING.md and CHANGELOG.md, each kept in one place."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PICTURES = "https://raw.githubusercontent.com/onnx-inspector/onnx-inspector/main/"
"""Where the README's pictures lie for a package index, which has no files beside the text. The site has its own."""

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages. Links that lead out of the documentation lead to the repository."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text("utf-8").replace(PICTURES, "")
        files.append(File.generated(config, page, content=re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", _lead_on(config), text)))
    return files


def _lead_on(config: MkDocsConfig):
    def lead(link: re.Match[str]) -> str:
        target, anchor = link[1], link[2] or ""
        if target in PAGES:
            return f"]({PAGES[target]}{anchor})"
        if target.startswith("docs/"):
            return f"]({target.removeprefix('docs/')}{anchor})"
        return f"]({config.repo_url}/blob/main/{target}{anchor})"

    return lead
