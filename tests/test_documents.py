"""What the documents show is what happens: their commands and programs run as they stand there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from document_blocks import Shell, blocks_of

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ROOT / "docs"


def test_the_tutorial(tmp_path: Path) -> None:
    built = subprocess.run(["make", "-q", "native/.built"], cwd=ROOT, capture_output=True, check=False)
    with Shell(ROOT, tmp_path) as shell:
        for block in blocks_of(DOCUMENTS / "TUTORIAL.md"):
            if block.section == "1. Install" and built.returncode != 0:
                shell.run("mkdir ~/first && cd ~/first")  # a test installs nothing
            elif block.language == "console":
                shell.play(block)
            else:
                assert block.language == "python", block
                (tmp_path / "first" / block.argument).write_text(block.text, encoding="utf-8")
