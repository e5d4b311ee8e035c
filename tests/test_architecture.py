"""The two one-way streets of the house: `indexer` never imports `searchengine`, and its rooms
import only what stands above them.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent

# room -> the rooms of the same package it may open; a new room must be entered here
INDEXER = {
    "records": set(),
    "errors": set(),
    "encoder": {"errors"},
    "config_files": set(),
    "settings": {"errors", "config_files"},
    "scan": {"records"},
    "metadata": {"records"},
    "decode": {"records", "metadata"},
    "vectors": set(),
    "schema": {"errors"},
    "store": {"records", "errors", "schema"},
    "lookup": {"records", "schema", "store"},
    "index_file": {"records", "schema", "store", "vectors", "lookup"},
    "catalogue": {"errors", "config_files"},
    "onnx_encoder": {"encoder", "errors"},
    "hub": set(),
    "torch_encoder": {"encoder", "errors", "hub", "onnx_encoder"},
    "export_tokenizer": {"errors", "onnx_encoder", "torch_encoder"},
    "export": {"encoder", "errors", "export_tokenizer", "onnx_encoder", "torch_encoder"},
    "encoders": {
        "hub",
        "encoder",
        "errors",
        "catalogue",
        "onnx_encoder",
        "torch_encoder",
        "export",
    },
    "watch": {"scan"},
    "ahead": set(),
    "detections": {"records", "schema", "store"},
    "pipeline": {"ahead", "records", "errors", "encoder", "scan", "decode", "store", "index_file"},
    "targets": {"decode", "errors", "pipeline", "records", "scan", "store"},
}


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_indexer_never_imports_searchengine() -> None:
    for path in (ROOT / "indexer").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "searchengine"}, path


def test_each_room_of_the_indexer_opens_only_the_rooms_it_may() -> None:
    rooms = {path.stem for path in (ROOT / "indexer").glob("*.py")} - {"__init__"}
    assert rooms == set(INDEXER)
    for room in rooms:
        opened = {
            name.split(".")[1]
            for name in imports(ROOT / "indexer" / f"{room}.py")
            if name.startswith("indexer.") and name.split(".")[1] in rooms
        }
        assert opened - {room} <= INDEXER[room], room


def test_nothing_but_the_command_line_prints_or_exits() -> None:
    for package in ("indexer", "searchengine"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name == "cli.py" or path.parent.name == "commands":
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("print", "exit", "quit"), path


def test_the_environment_is_read_in_settings_only() -> None:
    for package in ("indexer", "searchengine"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            reads = "os.environ" in text or "getenv" in text
            assert not reads or path.name == "settings.py", path
