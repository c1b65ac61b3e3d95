from clintune.package.short_text import in_short


def test_a_line_that_nobody_reads_loses_its_middle():
    line = in_short("place: " + "x\x1b" * 10**6 + " is wrong; take another")
    assert len(line) <= 1010
    assert line.startswith("place: x\\x1b")
    assert line.endswith(" is wrong; take another")
    name = "n" * 255
    assert (
        in_short(f"/data/{name}: is missing; restore it") == f"/data/{name}: is missing; restore it"
    )
