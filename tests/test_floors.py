"""The floors of the house: a room imports only from lower ones, and says what it is for.

Files and names of tests stay short.

`python tests/test_floors.py` writes them into docs/architecture.md.
"""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
SOURCE = ROOT / "src" / "clintune"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- floors: begin -->\n", "<!-- floors: end -->\n"
FLOORS = [
    {"core", "metrics"},
    {"storage", "report"},
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


def test_names_of_tests_stay_short():
    names = [
        f"{path.name}: {node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if len(node.name) > 60
    ]
    assert names == []


def test_what_tests_share_stands_in_one_place():
    others = [path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")]
    assert {path.parent.name for path in others if path != TESTS / "conftest.py"} == {"helpers"}


def purpose(room):
    """Return the sentences before the first blank line of a room's docstring, in one line."""
    path = SOURCE / room / "__init__.py" if (SOURCE / room).is_dir() else SOURCE / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split())


def rooms_within(room):
    """Return the rooms that stand within a room, as `room/inner`."""
    return sorted(f"{room}/{path.parent.name}" for path in (SOURCE / room).glob("*/__init__.py"))


def table_of_floors():
    """Return the floors from the top down, as a Markdown table."""
    lines = ["| room | what it is for |", "|---|---|"]
    for floor in reversed(FLOORS[:-1]):
        for room in sorted(floor):
            lines += [f"| `{name}` | {purpose(name)} |" for name in [room, *rooms_within(room)]]
        lines.append("| | |")
    return "\n".join(lines[:-1]) + "\n"


def test_every_room_says_what_it_is_for():
    rooms = [room for floor in FLOORS for room in floor if (SOURCE / room).is_dir()]
    inner = [name for room in rooms for name in rooms_within(room)]
    assert [room for room in [*rooms, *inner] if not purpose(room)] == []


def test_the_architecture_page_shows_the_floors():
    written = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert written == table_of_floors(), "run python tests/test_floors.py"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table_of_floors() + END + rest.partition(END)[2])
