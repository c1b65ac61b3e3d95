"""What the machine did is told in words, what may hold a patient's data is not."""

import errno
import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from clintune.core.errors import DataError
from clintune.core.extras import _EXTRA, how_to_install, is_installed
from clintune.core.outside import in_words, outside_reason, users_fault


def raised(act):
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        act()
    return caught.value


class Broken(torch.utils.data.Dataset):
    """Two items that cannot be read, by a fault of their author and by one of the data."""

    def __len__(self):
        return 2

    def __getitem__(self, number):
        if number:
            raise DataError("a.parquet: row 3: is empty; write it again")
        raise ValueError("John Doe")


@pytest.fixture(scope="module")
def errors():
    """Return the errors of both items, raised in one worker, as it takes seconds to end."""
    batches = iter(torch.utils.data.DataLoader(Broken(), num_workers=1, prefetch_factor=1))
    return [raised(lambda: next(batches)) for _ in range(2)]


def test_a_fault_in_a_worker_names_the_module_of_the_user(errors):
    fault = users_fault(errors[0])
    line = Broken.__getitem__.__code__.co_firstlineno + 3
    assert fault.endswith(f"test_outside.py:{line}: ValueError")
    assert in_words(errors[0]) == fault


def test_an_error_of_ours_in_a_worker_stays_one_line(errors):
    assert in_words(errors[1]) == "a.parquet: row 3: is empty; write it again"


def test_a_name_that_a_module_does_not_have_is_the_users_fault(tmp_path, monkeypatch):
    (tmp_path / "asks_for_more.py").write_text("\nfrom clintune.metrics import nosuch\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = raised(lambda: importlib.import_module("asks_for_more"))
    assert outside_reason(error) is None
    assert users_fault(error) == "asks_for_more.py:2: ImportError"


def test_a_module_that_is_no_python_is_the_users_fault(tmp_path, monkeypatch):
    (tmp_path / "unclosed.py").write_text("\n\na = (\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert users_fault(raised(lambda: importlib.import_module("unclosed"))) == (
        "unclosed.py:3: SyntaxError"
    )


@pytest.mark.parametrize(
    ("imports", "begins"),
    [("from clintune.tasks.base import Task", "needs_us.py:4"), ("import json", "test_outside.py")],
)
def test_an_installed_module_is_the_users_if_it_needs_us(tmp_path, monkeypatch, imports, begins):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "needs_us.py").write_text(f"{imports}\n\ndef act():\n    raise KeyError('Doe')\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "needs_us", raising=False)

    fault = users_fault(raised(importlib.import_module("needs_us").act))
    assert fault.startswith(f"{begins}: KeyError" if "clintune" in imports else begins)
    assert "Doe" not in fault


def system(number, path=None):
    def act():
        raise OSError(number, os.strerror(number), path)

    return act


def failing(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: importlib.import_module("no_such_module_at_all.inner"),
         "the Python module no_such_module_at_all is missing; if no_such_module_at_all.py is "
         "yours, put it beside the recipe again (key `modules`), else install what holds it"),
        (failing(ModuleNotFoundError("x", name="tensorboard.summary")),
         "pip install 'clintune[tensorboard]'"),
        (failing(ImportError("libcudart.so.12: cannot open shared object file")),
         "cannot be loaded (libcudart"),
        (failing(ImportError("libtorch.so: failed to map segment from shared object")),
         "the memory is used up"),
        (lambda: np.empty(2**62, np.uint8), "the memory is used up"),
        (lambda: torch.empty(2**60), "the memory is used up"),
        (failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
         "of the GPU is used up"),
        (failing(RuntimeError("can't start new thread")), "raise `ulimit -u`"),
        (system(errno.ENOMEM), "the memory is used up"),
        (system(errno.EMFILE), "raise `ulimit -n`"),
        (system(errno.ENOSPC, "/x/best.safetensors"), "/x/best.safetensors: the disk is full"),
        (system(errno.EROFS, "/x/metrics.json"), "/x/metrics.json: the disk is read-only"),
        (failing(RuntimeError("writer failed: No space left on device (os error 28)")),
         "the disk is full"),
        (system(errno.ENOENT, "/run/provenance.json"),
         "/run/provenance.json: No such file or directory"),
        (system(errno.EISDIR, "/run/recipe.yaml"), "/run/recipe.yaml: Is a directory"),
        (system(errno.EACCES, "/run/recipe.yaml"), "/run/recipe.yaml: Permission denied"),
        (failing(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")),
         "Connection reset by peer"),
        (lambda: json.loads('{"a": '), "is damaged (line 1)"),
        (lambda: b"M\xfcller".decode(), "is not UTF-8"),
    ],
)  # fmt: skip
def test_what_comes_from_outside_is_told_with_a_remedy(act, says):
    said = outside_reason(raised(act))
    assert says in said
    assert "\n" not in said


def test_a_panic_of_a_library_in_rust_is_told():
    panic = type("PanicException", (BaseException,), {})
    assert "a library gave up in " in outside_reason(raised(failing(panic("row of John Doe"))))
    assert "John" not in outside_reason(raised(failing(panic("row of John Doe"))))


@pytest.mark.parametrize(
    "name", ["scans/john_doe.png", "recordings/john_doe.csv", "john_doe/john_doe.dcm", "john_doe"]
)
def test_the_name_of_a_file_that_may_be_a_patients_is_not_told(name):
    for number in (errno.ENOENT, errno.EISDIR, errno.EACCES, errno.ENOSPC, errno.ETIMEDOUT):
        assert "john_doe" not in outside_reason(raised(system(number, f"/cohort/{name}")))


def test_the_text_of_a_file_is_not_told():
    assert "Doe" not in outside_reason(raised(lambda: json.loads("John Doe")))
    assert "ller" not in outside_reason(raised(lambda: b"M\xfcller".decode()))


@pytest.mark.parametrize(
    "error", [KeyError("John Doe"), ValueError("John Doe"), ImportError, ZeroDivisionError()]
)
def test_a_fault_of_ours_is_none_of_it(error):
    if error is ImportError:
        error = ModuleNotFoundError("x", name="clintune.nothing")
    assert outside_reason(error) is None
    assert in_words(error) == type(error).__name__


def test_our_own_errors_are_told_as_they_are():
    assert in_words(DataError("a.parquet: row 3: is empty")) == "a.parquet: row 3: is empty"
    outer = RuntimeError("Error in call to target")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk is full" in in_words(outer)


def test_every_extra_that_a_message_names_exists():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(_EXTRA.values()) <= project["optional-dependencies"].keys()
    assert how_to_install("pydicom") == "pip install 'clintune[dicom]'"
    assert is_installed("json")
    assert not is_installed("no_such_module_at_all")


def test_a_tight_limit_on_memory_is_named():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9,) * 2)\n"
        "from clintune.cli import main; import sys; "
        "sys.exit(main(['train', 'quickstart', '--dry-run']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "`ulimit -v` allows 2.0 GB" in done.stderr
    assert "unexpected" not in done.stderr
    assert "Traceback" not in done.stderr
