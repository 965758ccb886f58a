"""A sealed environment gets the bytecode of its packages, of its own sources and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.file_store.compile_environment import compile_environment
from builder.file_store.links import add_to_store, link_files
from builder.interpreters import inspect
from tests.support.builder import run

TAG = sys.implementation.cache_tag


def environment(folder: Path, packages: dict[str, str]) -> Path:
    """What a build has sealed, as far as it matters here."""
    site_packages = site(folder)
    for name, text in packages.items():
        path = site_packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def site(folder: Path) -> Path:
    return folder / "environment/lib/python3.11/site-packages"


async def compiled(folder: Path, how: Any = run) -> None:
    interpreter = await inspect(Path(sys.executable))
    await compile_environment(folder, interpreter, run=how, file_store=folder.parent / "store")


def imported(folder: Path, module: str) -> str:
    """The path that a function of a module names, loaded from bytecode alone."""
    code = f"import {module}; print({module}.f.__code__.co_filename)"
    done = subprocess.run(
        [sys.executable, "-B", "-v", "-c", code],
        env={"PYTHONPATH": str(site(folder))},
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"code object from {site(folder)}" not in done.stderr, "it was compiled"
    return done.stdout.strip()


async def test_packages_are_compiled(tmp_path: Path) -> None:
    """Imports find bytecode that names the real path; what does not compile is left out."""
    packages = {"a/__init__.py": "def f(): ...\n", "b.py": "def f(): ...\n", "bad.py": "def\n"}
    one = environment(tmp_path / "one", {**packages, "a/tests/test.py": "", "pip/x.py": ""})
    await compiled(one)
    assert imported(one, "a") == str(site(one) / "a/__init__.py")
    assert imported(one, "b") == str(site(one) / "b.py")
    found = sorted(path.name for path in site(one).rglob("*.pyc"))
    assert found == [f"__init__.{TAG}.pyc", f"b.{TAG}.pyc"]
    assert sorted(path.name for path in one.iterdir()) == ["compiled", "environment"]


async def test_equal_bytecode_is_one_file(tmp_path: Path) -> None:
    """Two environments with equal packages share their bytecode."""
    for name in ("one", "two"):
        folder = environment(tmp_path / name, {"a.py": "def f(): ...\n"})
        add_to_store(link_files(folder / "environment", tmp_path / "store"), tmp_path / "store")
        await compiled(folder)
    one, two = (site(tmp_path / name) / f"__pycache__/a.{TAG}.pyc" for name in ("one", "two"))
    assert one.stat().st_ino == two.stat().st_ino


async def test_environment_is_compiled_once(tmp_path: Path) -> None:
    """A second build of the environment starts nothing, nor does one without packages."""
    one = environment(tmp_path / "one", {"a.py": ""})
    await compiled(one)

    async def forbidden(*_: object, **__: object) -> int:
        raise AssertionError("something was run")

    await compiled(one, forbidden)
    await compiled(environment(tmp_path / "two", {"pip/x.py": ""}), forbidden)


async def test_taken_bytecode_is_not_compiled_again(tmp_path: Path) -> None:
    """Only what has no bytecode with the hash of its source is compiled."""
    one = environment(tmp_path / "one", {"a.py": "def f(): ...\n", "b.py": "def f(): ...\n"})
    await compiled(one)
    a, b = (site(one) / f"__pycache__/{name}.{TAG}.pyc" for name in "ab")
    before = a.stat().st_ino, b.stat().st_ino
    (site(one) / "b.py").write_text("def f(): return 2\n")
    (one / "compiled").unlink()
    await compiled(one)
    assert a.stat().st_ino == before[0]
    assert b.stat().st_ino != before[1]


async def test_nothing_is_written_or_read_through_links(tmp_path: Path) -> None:
    """Links that a script left in its packages, and links and odd files that its process leaves in
    place of bytecode, lead nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("a.py", f"a.{TAG}.pyc", "b.py"):
        (outside / name).write_text("outside")
    one = environment(tmp_path / "one", {"a.py": "", "c/a.py": "", "d/a.py": "", "e/a.py": ""})
    (site(one) / "linked").symlink_to(outside)
    (site(one) / "c/__pycache__").symlink_to(outside)

    async def hostile(command: list[str], **how: Any) -> int:
        out = Path(command[-1])
        for name in ("linked", "c"):
            (out / name).mkdir()
            (out / name / f"a.{TAG}.pyc").write_text("made")
        (out / "d").symlink_to(outside)
        (out / "e").mkdir()
        (out / f"e/a.{TAG}.pyc").symlink_to(outside / "a.py")
        os.mkfifo(out / f"a.{TAG}.pyc")
        return 0

    await compiled(one, hostile)
    assert {path.name for path in outside.iterdir()} == {"a.py", f"a.{TAG}.pyc", "b.py"}
    assert {path.read_text() for path in outside.iterdir()} == {"outside"}
    for name in ("__pycache__", "d/__pycache__", "e/__pycache__"):
        assert not (site(one) / name).exists()


async def test_site_packages_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    """An environment whose script has moved its packages elsewhere is not compiled."""
    elsewhere = environment(tmp_path / "elsewhere", {"a.py": ""})
    one = tmp_path / "one"
    site(one).parent.mkdir(parents=True)
    site(one).symlink_to(site(elsewhere))
    await compiled(one)
    assert not list(site(elsewhere).rglob("*.pyc"))


async def test_failed_process_leaves_nothing(tmp_path: Path) -> None:
    """A process that does not end in time leaves the environment as it was."""

    async def slow(*_: object, **__: object) -> int:
        raise TimeoutError

    one = environment(tmp_path / "one", {"a.py": ""})
    with pytest.raises(TimeoutError):
        await compiled(one, slow)
    assert [path.name for path in one.iterdir()] == ["environment"]
