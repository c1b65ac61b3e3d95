"""One does the work; the others wait and say so."""

from concurrent.futures import ThreadPoolExecutor

from clintune.core.locks import exclusive_lock, try_lock


def test_work_is_done_by_one_at_a_time_and_whoever_waited_knows(tmp_path, capsys):
    inside, most, made = [], [], tmp_path / "made"

    def work(number):
        with exclusive_lock(made, "the thing") as waited:
            inside.append(number)
            most.append(len(inside))
            first = not made.exists()
            made.touch()
            inside.remove(number)
        return first, waited

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(work, range(8)))
    assert max(most) == 1
    assert sum(first for first, _ in done) == 1
    assert capsys.readouterr().err.count("which prepares the thing") == sum(
        waited for _, waited in done
    )


def test_a_lock_is_free_again_after_an_error(tmp_path):
    try:
        with exclusive_lock(tmp_path / "made", "the thing"):
            with try_lock(tmp_path / "made") as free:
                assert not free
            raise RuntimeError
    except RuntimeError:
        pass
    with try_lock(tmp_path / "made") as free:
        assert free
