"""A ready seed is complete or absent, made once, and knows no path."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from builder.environment.seeds import Seeds, unused_seeds
from builder.errors import EnvironmentFailed
from builder.interpreters import Interpreter, discover, inspect
from tests.faults.matrix import fault
from tests.support.builder import Lines, run
from tests.support.seeds import SEEDS


class CountedRun:
    """A `Run` that counts its commands."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    async def __call__(self, command: list[str], **how: Any) -> int:
        self.commands.append(command)
        return await run(command, **how)

    async def begun(self) -> None:
        while not self.commands:  # noqa: ASYNC110 - there is no event
            await trio.sleep(0.001)


async def this_python() -> Interpreter:
    return await inspect(Path(sys.executable))


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def make(seeds: Seeds, target: Path, interpreter: Interpreter, **more: Any) -> None:
    await seeds.make_environment(target, interpreter, Lines(), 60, **more)


async def test_virtualenv_runs_once_for_many_environments(tmp_path: Path) -> None:
    """Environments that are made at once and later share one run of virtualenv."""
    counted, interpreter = CountedRun(), await this_python()
    seeds = Seeds(tmp_path / "seeds", counted)
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(partial(make, seeds, tmp_path / name, interpreter))
    await make(Seeds(tmp_path / "seeds", counted), tmp_path / "later", interpreter)
    assert len(counted.commands) == 1
    [seed] = (tmp_path / "seeds").iterdir()
    assert (tmp_path / "later/bin/python").exists()
    assert len(list(seed.rglob("*"))) == len(list((tmp_path / "later").rglob("*")))


async def test_prepared_seed_is_made_once_below_others(tmp_path: Path) -> None:
    """A seed is prepared with a lower priority; an environment that is made meanwhile waits for
    it, and later nothing is prepared."""
    counted, interpreter = CountedRun(), await this_python()
    seeds = Seeds(tmp_path / "seeds", counted)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(seeds.prepare, interpreter, 60)
        await counted.begun()
        await make(seeds, tmp_path / "one", interpreter)
    await seeds.prepare(interpreter, 60)
    assert [command[0] for command in counted.commands] == ["nice"]
    assert (tmp_path / "one/bin/python").exists()


async def test_cancelled_preparation_leaves_the_seed_to_the_environment(tmp_path: Path) -> None:
    """An environment that waited for a preparation makes the seed itself when that ends early, and
    nothing of the preparation is left."""
    counted, interpreter = CountedRun(), await this_python()
    seeds, scope = Seeds(tmp_path / "seeds", counted), trio.CancelScope()

    async def wait_and_cancel() -> None:
        await counted.begun()
        nursery.start_soon(partial(make, seeds, tmp_path / "one", interpreter))
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_and_cancel)
        with scope:
            await seeds.prepare(interpreter, 60)
    assert [command[0] for command in counted.commands] == ["nice", sys.executable]
    assert len(list((tmp_path / "seeds").iterdir())) == 1
    assert (tmp_path / "one/bin/python").exists()


async def test_environment_works_at_any_path(tmp_path: Path) -> None:
    """The environment of a seed runs at a path with blanks and quotes, and after a move."""
    seeds, interpreter = Seeds(tmp_path / "seeds", run), await this_python()
    target = tmp_path / "it's a folder"
    await make(seeds, target, interpreter)
    active = output("bash", "-c", '. "$1/bin/activate"; echo "$VIRTUAL_ENV"', "-", target)
    assert active == str(target)
    for here in (target, tmp_path / "another"):
        target.rename(here)
        prefix = "import sys; print(sys.prefix)"
        assert output(here / "bin/python", "-c", prefix) == str(here)
        assert str(here) in output(here / "bin/pip", "--version")
    seed = next((tmp_path / "seeds").iterdir())
    told = [path for path in seed.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in told if os.fsencode(tmp_path) in path.read_bytes()]


async def test_all_interpreters_have_pip(tmp_path: Path) -> None:
    """The environment of each Python here has its version and a pip, also that of 3.8."""
    seeds = Seeds(SEEDS, run)
    for each in await discover():
        if each.language != "python":
            continue
        target = tmp_path / each.identifier
        await make(seeds, target, each)
        version = "import platform; print(platform.python_version())"
        assert output(target / "bin/python", "-c", version) == each.version
        assert f"python {each.identifier[6:]}" in output(target / "bin/pip3", "--version")


async def test_uv_writes_relocatable_scripts(tmp_path: Path) -> None:
    """`pyvenv.cfg` tells uv that scripts must not have the path of the environment."""
    await make(Seeds(tmp_path / "seeds", run), tmp_path / "one", await this_python())
    assert "relocatable = true" in (tmp_path / "one/pyvenv.cfg").read_text().splitlines()


async def test_replaced_interpreter_has_a_new_seed(tmp_path: Path) -> None:
    """An interpreter that is replaced at its path, or updated, does not get the old seed."""
    counted = CountedRun()
    program = tmp_path / "python"
    original = (await this_python()).path.resolve()
    program.write_text(f'#!/bin/sh\nexec {original} "$@"\n')
    program.chmod(0o755)
    interpreter = replace(await this_python(), path=program)
    seeds = Seeds(tmp_path / "seeds", counted)
    await make(seeds, tmp_path / "one", interpreter)
    await make(seeds, tmp_path / "two", interpreter)
    program.write_text(f'#!/bin/sh\n# Another one.\nexec {original} "$@"\n')
    await make(seeds, tmp_path / "three", interpreter)
    await make(seeds, tmp_path / "four", replace(interpreter, version="3.11.99"))
    assert len(counted.commands) == 3


async def test_failed_virtualenv_leaves_no_seed(tmp_path: Path) -> None:
    """An interpreter that virtualenv cannot use is named, and the next attempt starts again."""
    gone = replace(await this_python(), path=Path("/bin/false"))
    with pytest.raises(EnvironmentFailed):
        await make(Seeds(tmp_path / "seeds", run), tmp_path / "one", gone)
    assert not list((tmp_path / "seeds").iterdir())
    assert not (tmp_path / "one").exists()


@fault(
    "the gateway is killed while it makes a seed",
    injection="SIGKILL at the end of virtualenv",
    bound="the next build makes the seed again",
)
async def test_killed_gateway_leaves_no_half_seed(tmp_path: Path) -> None:
    """What a kill leaves is not taken for a seed."""
    interpreter = await this_python()
    code = f"""
import os, signal, sys
from pathlib import Path
import trio
from builder.environment.seeds import Seeds
from builder.interpreters import inspect
from tests.support.builder import Lines, run

async def kill(command, **how):
    await run(command, **how)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    interpreter = await inspect(Path(sys.executable))
    seeds = Seeds(Path({str(tmp_path / "seeds")!r}), kill)
    await seeds.make_environment(Path({str(tmp_path / "one")!r}), interpreter, Lines(), 60)

trio.run(main)
"""
    root = Path(__file__).parents[3]
    died = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert died.returncode == -9
    [left] = (tmp_path / "seeds").iterdir()
    assert left.name.startswith(".new-")
    await make(Seeds(tmp_path / "seeds", run), tmp_path / "one", interpreter)
    assert (tmp_path / "one/bin/pip").exists()


async def test_environment_starts_as_a_copy_of_its_base(tmp_path: Path) -> None:
    """An environment with a base has its packages and its programs, which run with its own
    interpreter, and changes nothing of the base."""
    seeds, interpreter = Seeds(tmp_path / "seeds", run), await this_python()
    base, copy = tmp_path / "base", tmp_path / "copy"
    await make(seeds, base, interpreter)
    [packages] = base.glob("lib/python*/site-packages")
    (packages / "greeting.py").write_text("WORD = 'hello'\n")
    by_pip = base / "bin/greet"
    by_pip.write_text(f"#!{base}/bin/python\nimport greeting, sys\nprint(sys.prefix)\n")
    by_pip.chmod(0o755)
    await make(seeds, copy, interpreter, base=base)
    code = "import greeting, pip; print(greeting.WORD)"
    assert output(copy / "bin/python", "-c", code) == "hello"
    assert output(copy / "bin/greet") == str(copy)
    assert output(base / "bin/greet") == str(base)
    activated = f". {copy}/bin/activate && echo $VIRTUAL_ENV"
    assert output("bash", "-c", activated) == str(copy)


def test_unused_seeds(tmp_path: Path) -> None:
    """A seed that no build has used for a month is unused, and so is what a killed gateway left."""
    day = 24 * 3600.0
    ages = {"used": 29 * day, "unused": 31 * day, ".new-now": 60.0, ".new-killed": day}
    for name, age in ages.items():
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert [path.name for path in unused_seeds(tmp_path)] == [".new-killed", "unused"]
    assert unused_seeds(tmp_path / "none") == []
