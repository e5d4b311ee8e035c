"""README's Python example is run as written, beside the photographs it speaks of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from photographs import copy_photographs

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_and_finds_what_it_says(tmp_path: Path) -> None:
    match = re.search(
        r"<!-- example -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert match
    copy_photographs(tmp_path / "photographs")
    done = subprocess.run(
        [sys.executable, "-c", match[1]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "9 new, 0 skipped" in done.stdout
    assert "chelsea.png" in done.stdout.splitlines()[1]
    assert "coffee: coffee.png" in done.stdout
    coffee, cat = map(float, done.stdout.splitlines()[-1].strip("[]").split(","))
    assert coffee > cat
