"""What is printed shows itself: no markup, no orders to the terminal, in any encoding."""

import io
import os
import subprocess
import sys

import pytest
from rich.table import Table

from clintune.core.console import Messages, PlainConsole, print_table

NAME = "a[/b] [bold]:smile: \x1b]0;owned\x07 \u202eevil\n"


def test_a_name_is_printed_as_it_is_and_on_one_line(tmp_path):
    shown = io.StringIO()
    console = Messages(file=shown, width=200)
    with console.copied_to(tmp_path / "messages.log"):
        console.print(f"task {NAME[:-1]}")
        table = Table("name", title=NAME[:-1])
        table.add_row(NAME[:-1])
        console.print(table)
    for text in (shown.getvalue(), (tmp_path / "messages.log").read_text()):
        assert text.count("a[/b] [bold]:smile: \\x1b]0;owned\\x07 \\u202eevil") == 3
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_lines_of_a_text_stay_lines():
    shown = io.StringIO()
    PlainConsole(file=shown).print("one\ntwo")
    assert shown.getvalue() == "one\ntwo\n"


def test_a_table_goes_to_standard_output(capsys):
    print_table(Table("a" * 100, "b"), "x" * 300)
    assert "x" * 300 in capsys.readouterr().out, "a line of text is not broken"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_terminal_that_lacks_characters_gets_them_written_out(encoding):
    code = (
        "from clintune.core.console import console, print_table, show_any_text\n"
        "from rich.table import Table\n"
        "show_any_text()\n"
        "t = Table('naïve … 日本', box=None); t.add_row('x' * 300); "
        "print_table(t, 'größe', width=40)\n"
        "console.print('größe 日本'); print('日本')"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert ("日本" if encoding == "utf-8" else "\\u65e5\\u672c") in done.stdout.decode(encoding)
