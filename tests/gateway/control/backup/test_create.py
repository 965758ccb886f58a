"""Backups over the admin API, while others delete and others hang up."""

from pathlib import Path
from typing import IO

import trio

from gateway.control.backup.archive import read_archive
from gateway.control.backup.archive_members import ArchiveMember
from gateway.control.backup.restore import restore
from gateway.control.disk.removal_queue import RemovalQueue
from tests.support.builds import virtualenv_of
from tests.support.gateway import Gateway, copy_of, refusal, status_is, until


async def test_what_is_removed_while_held() -> None:
    """A removal waits for the last holder, is done then, and one that fails stops no other."""
    hold, removed = RemovalQueue(), []

    async def remove(name: str = "") -> None:
        if name == "bad":
            raise OSError(name)
        removed.append(name)

    async with hold.paused():
        async with hold.paused():
            await hold.remove(lambda: remove("bad"))
            await hold.remove(lambda: remove("first"))
        assert removed == []
    assert removed == ["first"]
    await hold.remove(lambda: remove("second"))
    assert removed == ["first", "second"]


async def test_a_project_deleted_during_its_backup(gateway: Gateway, tmp_path: Path) -> None:
    """What is deleted while a backup is being read is gone at once for everybody, but whole in the
    backup, and its files go when the backup has ended."""
    project = await gateway.project(copy_of("add", tmp_path))
    build = await gateway.built(await gateway.model(project), "add.py:add")
    folder = gateway.data / "builds" / build.rpartition("/")[2]
    environment = virtualenv_of(gateway.data, folder.name)
    file = tmp_path / "backup.tar"
    async with gateway.admin.stream("GET", "/backup") as response:
        blocks = response.aiter_raw()
        data = await anext(blocks)
        second = await gateway.admin.get("/backup")
        assert refusal(second) == (409, "state.conflict")
        await gateway.delete(project)
        assert (await gateway.admin.get(build)).status_code == 404
        assert folder.is_dir()
        file.write_bytes(data + b"".join([block async for block in blocks]))
    names = set()

    def take(entry: ArchiveMember, modified: int, content: IO[bytes] | None) -> None:
        names.add(entry.name)

    read_archive(file, take)
    python = str((environment / "bin" / "python").relative_to(gateway.data))
    assert {f"builds/{folder.name}/sealed", python} <= names
    assert f"snapshots/{project.rpartition('/')[2]}.git/refs/builds/{folder.name}" in names
    for gone in (folder, environment.parent):
        await until(trio.Path(gone).exists, lambda there: not there)


async def test_files_of_several_environments_are_in_it_once(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A backup of two environments is little larger than one of the first alone. A restore gives
    each of them all files, and equal ones are one file again."""
    source = copy_of("add", tmp_path)
    model = await gateway.model(await gateway.project(source))
    backups, environments = [], []
    for word in ("one", "two"):
        (source / "cdsw-build.sh").write_text(f"echo {word}")
        build = await gateway.built(model, "add.py:add")
        environments.append(virtualenv_of(gateway.data, build.rpartition("/")[2]))
        backups.append(tmp_path / f"{word}.tar")
        backups[-1].write_bytes((await gateway.admin.get("/backup")).content)
    assert environments[0] != environments[1]
    one, two = (path.stat().st_size for path in backups)
    assert two < 1.3 * one
    restored = tmp_path / "restored"
    await restore(backups[1], restored)
    assert not (restored / "shared").exists()
    inodes = []
    for environment in environments:
        there = restored / environment.relative_to(gateway.data)
        found = {each.relative_to(there) for each in there.rglob("*")}
        assert found == {each.relative_to(environment) for each in environment.rglob("*")}
        [pip] = there.glob("lib/python*/site-packages/pip/__main__.py")
        inodes.append(pip.stat().st_ino)
        for each in found:
            original = environment / each
            if original.is_file() and not original.is_symlink() and original.suffix == ".py":
                assert (there / each).read_bytes() == original.read_bytes()
    assert inodes[0] == inodes[1]


KEEPS = """\
import os, sys, time
with open(os.path.join(os.environ["CDSW_OUTPUT_DIR"], "kept"), "w") as file:
    file.write("x")
while sys.argv[1:]:
    time.sleep(0.1)
"""


async def test_what_a_running_experiment_writes(gateway: Gateway, tmp_path: Path) -> None:
    """It is not whole, so it is left out; what one that has ended kept is in it. So is nothing of
    the trash."""
    folder = copy_of("add", tmp_path)
    (folder / "keeps.py").write_text(KEEPS)
    project = await gateway.project(folder)
    runs = []
    for arguments in ([], ["for ever"]):
        asked = {"script": "keeps.py", "arguments": arguments}
        run = await gateway.post(f"{project}/experiments", asked)
        kept = gateway.data / "experiments" / run["id"] / "outputs" / "kept"
        await until(trio.Path(kept).exists, bool)
        runs.append(run["id"])
        if not arguments:
            await gateway.until(f"{project}/experiments/{run['id']}", status_is("succeeded"))
    trash = gateway.data / "trash" / "20260101T000000Z" / "builds" / runs[0]
    trash.mkdir(parents=True)
    file = tmp_path / "backup.tar"
    file.write_bytes((await gateway.admin.get("/backup")).content)
    names = set()

    def take(entry: ArchiveMember, modified: int, content: IO[bytes] | None) -> None:
        names.add(entry.name)

    read_archive(file, take)
    assert f"experiments/{runs[0]}/outputs/kept" in names
    assert f"logs/experiments/{runs[1]}.log" in names
    assert [name for name in names if name.startswith(f"experiments/{runs[1]}")] == []
    assert [name for name in names if "trash" in name] == []
    await gateway.post(f"{project}/experiments/{runs[1]}:stop")


async def test_a_client_that_goes(gateway: Gateway, tmp_path: Path) -> None:
    """Who hangs up in the midst of a backup holds nothing any longer: another one can begin."""
    await gateway.built(
        await gateway.model(await gateway.project(copy_of("add", tmp_path))), "add.py:add"
    )
    key = gateway.admin.headers["Authorization"]
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        head = f"GET /api/v2/backup HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n\r\n"
        await stream.send_all(head.encode())
        assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
    await until(lambda: gateway.admin.get("/backup"), lambda response: response.status_code == 200)
