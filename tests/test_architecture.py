"""Rooms import downwards only, and stay readable."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pisa_kit"
FLOORS = [
    ("core",),
    ("clips",),
    ("perception",),
    ("sim",),
    ("metrics", "models"),
    ("training",),
    ("study", "viz"),
    ("cli",),
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def rooms_imported(path: Path) -> set[str]:
    """Rooms that a module imports from, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pisa_kit":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_room_and_from_floors_below(path):
    room = path.relative_to(PACKAGE).parts[0]
    upwards = {other for other in rooms_imported(path) if other != room and FLOOR[other] >= FLOOR[room]}
    assert not upwards


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_longer_than_300_lines(path):
    limit = 300
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


def test_every_room_says_what_lives_there():
    for room in FLOOR:
        assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))), room
