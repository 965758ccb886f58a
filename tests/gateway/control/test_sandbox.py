"""A build works wherever its project stood when it was made, or is made again."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from builder.files.path_references import find_path_reference
from tests.faults.matrix import fault
from tests.support.gateway import Gateway, ended_build, running, settings_for, status_is
from tests.support.skipping import not_here
from workers.confinement import HOME, ConfinementUnavailable

# All that a script writes with the absolute path of its folder in it. `pip install -e .` writes the
# same .pth file, but takes a package index or seconds.
SCRIPT = """\
set -e
mkdir -p lib/packed data
echo "VALUE = 'editable'" >lib/packed/__init__.py
echo "$PWD/lib" >"$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/e.pth"
echo linked >data/text
ln -s "$PWD/data/text" text
printf '#!/bin/sh\\ncat "%s/data/text"\\n' "$PWD" >data/tool
chmod +x data/tool
printf '#!%s/data/tool\\n' "$PWD" >"$VIRTUAL_ENV/bin/console"
chmod +x "$VIRTUAL_ENV/bin/console"
printf '%s' "$PWD/data/text" >data/path
"""
# With one kind of path alone.
ONLY_A_LINK = 'mkdir data; echo linked >data/text; ln -s "$PWD/data/text" text\n'
MODEL = """\
import os, subprocess

def predict(args):
    with open("text") as linked:
        told = {"linked": linked.read().strip()}
    if not os.path.exists("data/path"):
        return told
    import packed
    with open("data/path") as written, open(written.read()) as text:
        told["written"] = text.read().strip()
    run = {"capture_output": True, "text": True, "check": True}
    told["tool"] = subprocess.run(["data/tool"], **run).stdout.strip()
    told["console"] = subprocess.run(["console"], **run).stdout.strip()
    return {**told, "editable": packed.VALUE}
"""
RUN = 'import model\nprint("told", sorted(model.predict({}).items()))\n'
ALL = {
    **dict.fromkeys(("linked", "written", "tool", "console"), "linked"),
    "editable": "editable",
}
LEVELS = ("users", "userns", "landlock", "none")
HERE = [level for level in LEVELS if level != ("userns" if os.geteuid() == 0 else "users")]


@asynccontextmanager
async def at(level: str, data: Path) -> AsyncIterator[Gateway]:
    """A gateway with this level of isolation."""
    try:
        async with running(settings_for(data, isolation=level)) as gateway:
            yield gateway
    except ConfinementUnavailable as error:
        not_here(str(error))


def project(folder: Path, script: str = SCRIPT) -> Path:
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "run.py").write_text(RUN)
    (folder / "cdsw-build.sh").write_text(script)
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    return folder


async def answered(gateway: Gateway, model: str) -> object:
    await gateway.until(model, status_is("deployed"), pause=0.1)
    reply = await gateway.call(await gateway.key(model), {})
    assert reply.status_code == 200, reply.text
    return reply.json()["response"]


@fault(
    "another level of isolation at the next start",
    injection="a build with absolute paths in a module path, links, programs and data",
    bound="it answers at each level after each other",
)
@pytest.mark.parametrize("first", [HERE[0], "none"])
async def test_every_level_after_every_other(first: str, tmp_path: Path) -> None:
    """Absolute paths that a build script wrote lead to the project's files in models and scripts at
    the level of the build and, after a restart, at each other."""
    data = tmp_path / "data"
    async with at(first, data) as gateway:
        path = await gateway.project(project(tmp_path / "project"))
        model = await gateway.model(path)
        await gateway.deployed(await gateway.built(model, "model.py:predict"))
        assert await answered(gateway, model) == ALL
    for level in HERE:
        async with at(level, data) as gateway:
            assert await answered(gateway, model) == ALL, level
            if first == "none" or level == "none":
                continue  # scripts are run as models are: one change is enough
            asked = await gateway.post(f"{path}/experiments", {"script": "run.py"})
            run = f"{path}/experiments/{asked['id']}"
            ended = await gateway.until(run, lambda e: bool(e["ended_at"]), pause=0.1)
            assert ended["status"] == "succeeded", (level, ended["failure"])


@fault(
    "a build that cannot be made again at another level",
    injection="its script fails there",
    bound='its model is "rebuilding"; back at the first level it serves as it was',
)
async def test_it_is_rebuilding_meanwhile(tmp_path: Path) -> None:
    """A model whose build names a home that is gone is "rebuilding" until it has been made again,
    and says why in the build's log. A failed try leaves the build that was there."""
    data, gate = tmp_path / "data", tmp_path / "readable" / "gate"
    gate.parent.mkdir()
    script = SCRIPT + f'[ "$PWD" = {HOME} ] || test -e {gate}\n'
    async with at(HERE[0], data) as gateway:
        model = await gateway.model(await gateway.project(project(tmp_path / "project", script)))
        build = await gateway.built(model, "model.py:predict")
        await gateway.deployed(build)
        folder = gateway.data / "builds" / build.rpartition("/")[2]
    inode = folder.stat().st_ino
    async with at("none", data) as gateway:
        await gateway.until(build, ended_build)
        await gateway.until(model, status_is("rebuilding"))
        log = (await gateway.admin.get(f"{build}/log")).text
        assert "names /home/cdsw, which does not exist with isolation 'none'" in log
    assert folder.stat().st_ino == inode
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    async with at(HERE[0], data) as gateway:
        assert await answered(gateway, model) == ALL
    assert folder.stat().st_ino == inode
    gate.touch()
    async with at("none", data) as gateway:
        assert await answered(gateway, model) == ALL
    assert folder.stat().st_ino != inode


async def test_what_names_no_home_is_not_made_again(tmp_path: Path) -> None:
    """A build without absolute paths, or with links of the project alone, serves at each level."""
    data, inodes = tmp_path / "data", set()
    async with at(HERE[0], data) as gateway:
        linked = project(tmp_path / "project", ONLY_A_LINK)
        model = await gateway.model(await gateway.project(linked))
        await gateway.deployed(build := await gateway.built(model, "model.py:predict"))
    for level in reversed(HERE):
        async with at(level, data) as gateway:
            assert await answered(gateway, model) == {"linked": "linked"}
            inodes.add((gateway.data / "builds" / build.rpartition("/")[2]).stat().st_ino)
    assert len(inodes) == 1


def test_which_file_names_a_path(tmp_path: Path) -> None:
    """Content of files of any size and links of the environment count; compiled modules and pip's
    record of where a package came from do not."""
    code, environment = tmp_path / "code", tmp_path / "environment"
    for folder in (code, environment / "lib"):
        folder.mkdir(parents=True)
    (code / "link").symlink_to(HOME / "x")
    (code / "m.pyc").write_bytes(bytes(HOME))
    (environment / "direct_url.json").write_text(f"file://{HOME}")
    os.mkfifo(code / "pipe")
    named = partial(find_path_reference, str(HOME), code=code, virtualenv=environment)
    assert named() == ""
    for before in (0, 256 * 1024 - 5, 256 * 1024 - 20):
        (code / "text").write_bytes(b"x" * before + bytes(HOME) + b"\n")
        assert named() == "code/text"
    (code / "text").unlink()
    (environment / "lib/link").symlink_to(HOME / "x")
    assert named() == "environment/lib/link"
