"""A wheel installed elsewhere finds configs and recipes; any folder finds a user's own recipe."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Make an environment with this checkout's wheel, beside the dependencies installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT],
        check=True,
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("clintune-*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env" / "bin"


def run(environment, *words, cwd):
    return subprocess.run(
        [environment / "clintune", *words], capture_output=True, text=True, cwd=cwd
    )


def test_the_wheel_lists_the_recipes_of_the_checkout(environment, tmp_path):
    where = subprocess.run(
        [environment / "python", "-c", "import clintune; print(clintune.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert str(environment.parent) in where.stdout
    done = run(environment, "recipes", cwd=tmp_path)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def test_a_recipe_of_the_users_own_is_composed_from_any_folder(environment, tmp_path):
    (tmp_path / "mine.yaml").write_text((ROOT / "recipes" / "quickstart.yaml").read_text())
    done = run(environment, "show", "./mine.yaml", "seed=7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed: 7\n" in done.stdout
    assert "name: mine\n" in done.stdout or "name: quickstart\n" in done.stdout
