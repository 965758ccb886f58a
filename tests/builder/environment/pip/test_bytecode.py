"""The packages of an environment take their bytecode from an earlier one of the project."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.file_store.compile_environment import compile_environment
from builder.interpreters import inspect
from builder.lock.installed import site_packages
from tests.support.builder import Bench, run
from tests.support.package_index import wheel

UNCHECKED = 1
# Says whether the import has compiled the package.
SCRIPT = """
pip install --no-index -f wheels greeting
python3 -v -c 'import greeting; print(greeting.VERSION)' 2> said
grep -q 'code object from .*greeting.py$' said && echo it was compiled || echo it was taken
rm said
"""


def offer(bench: Bench, version: str = "1.0", body: str = "") -> None:
    bench.write("wheels/greeting-1.0-py3-none-any.whl", wheel("greeting", version, body=body))


async def build(bench: Bench, name: str, **changes: Any) -> Path:
    """The bytecode of the package in a new environment, which no other build has: each has another
    script."""
    bench.log.lines.clear()
    bench.write("model.py", "def predict(args): return args")
    bench.write("cdsw-build.sh", f"{SCRIPT}# {name}\n")
    report = await bench.build(name, **changes)
    assert report.outcome == "built", report.failure
    folder = bench.environments.folder(bench.shelf.environment_of(name))
    interpreter = await inspect(Path(sys.executable))
    packages = site_packages(folder / "environment", interpreter.version)
    before = (packages / "__pycache__").glob("greeting.*.pyc")
    assert [each.read_bytes()[4] for each in before] == [UNCHECKED]
    await compile_environment(folder, interpreter, run=run, file_store=bench.file_store)
    [made] = (packages / "__pycache__").glob("greeting.*.pyc")
    return made


async def test_new_environment_takes_bytecode(bench: Bench) -> None:
    """A package that is installed again is not compiled again, and its bytecode is one file."""
    offer(bench)
    one = await build(bench, "one")
    assert "it was compiled" in bench.log
    two = await build(bench, "two")
    assert "it was taken" in bench.log
    assert one != two
    assert one.stat().st_ino == two.stat().st_ino
    assert bench.environments.is_free("one")


async def test_bytecode_of_another_source_is_not_used(bench: Bench) -> None:
    """Python compiles a package that has another source under the same version."""
    offer(bench)
    await build(bench, "one")
    offer(bench, body="VERSION = 'another'\n")
    await build(bench, "two")
    assert "it was compiled" in bench.log
    assert "another" in bench.log


@pytest.mark.parametrize("changes", [{"fresh": True}, {"project": "another"}])
async def test_bytecode_is_of_the_project(bench: Bench, changes: dict[str, Any]) -> None:
    """A fresh build takes none, nor does another project."""
    offer(bench)
    await build(bench, "one")
    await build(bench, "two", **changes)
    assert "it was compiled" in bench.log


@pytest.mark.parametrize("odd", ["pipe", "short", "by time"])
async def test_odd_bytecode_is_not_taken(bench: Bench, odd: str) -> None:
    """What is no bytecode with the hash of its source is left where it is."""
    offer(bench)
    one = await build(bench, "one")
    content = one.read_bytes()
    one.unlink()
    if odd == "pipe":
        os.mkfifo(one)
    else:
        one.write_bytes(content[:10] if odd == "short" else content[:4] + bytes(12) + content[16:])
    await build(bench, "two")
    assert "it was compiled" in bench.log
