"""The floors of the house: a room imports only from lower ones."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "clintune"
FLOORS = [
    {"core", "metrics"},
    {"storage"},
    {"config", "weights", "layers", "contracts"},
    {"launch"},
    {"cohort"},
    {"modalities"},
    {"features"},
    {"model"},
    {"tasks"},
    {"package", "testing"},
    {"hub"},
    {"experiment"},
    {"training"},
    {"inference"},
    {"evaluation"},
    {"scoring"},
    {"publishing"},
    {"benchmark"},
    {"verbs", "cli", "api", "__init__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "clintune":
            yield from (alias.name for alias in node.names if alias.name in FLOOR)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clintune."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("clintune."))


def test_every_room_has_a_floor():
    assert {room_of(path) for path in SOURCE.rglob("*.py")} == set(FLOOR)


def test_imports_go_down_only():
    upward = [
        f"{path.relative_to(SOURCE)} -> {room}"
        for path in SOURCE.rglob("*.py")
        for room in imported_rooms(path)
        if FLOOR[room] >= FLOOR[room_of(path)] and room != room_of(path)
        if {room, room_of(path)} not in ({"cli", "verbs"}, {"api", "verbs"})
    ]
    assert upward == []


def num_lines(path):
    """Count the lines that are neither blank nor a comment."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_files_stay_small():
    assert [str(path) for path in SOURCE.rglob("*.py") if num_lines(path) > 300] == []
