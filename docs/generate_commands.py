"""Write a page for each command from its own help: ``python docs/generate_commands.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scaler_trio.cli import object_storage, scaler, scheduler, worker_manager

FOLDER = Path(__file__).parent / "reference" / "commands"
APPS = (scaler.app, scheduler.app, object_storage.app, worker_manager.app)


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with its text."""
    for app in APPS:
        text = app.generate_docs(recursive=True)
        text = re.sub(r"## Table of Contents\n\n(- .*\n)*\n?", "", text)
        text = re.sub(r" -m \S+", "", text)  # how this very program was called
        text = re.sub(r"^## \S+ --install-completion\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"\[(`--install-completion`)\]\(\S+\)", r"\1", text)
        text = re.sub(r"\n {4,}(?=\S)", " ", text)  # texts that go over several lines in the source
        text = re.sub(r"^Example: (.*)$", r"```console\n$ \1\n```", text, flags=re.MULTILINE)
        yield FOLDER / f"{app.name[0]}.md", text.rstrip() + "\n"


if __name__ == "__main__":
    for path, text in pages():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
