"""A data folder is served with its database and its keys, or not at all."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import store
from gateway.data_folder import DataFolder
from gateway.data_folder_check import open_data
from store import DataFolderUnusable
from tests.faults.matrix import fault
from tests.support.gateway import running, settings_for

ID = "7b0e1f8e-5d0c-4c5b-9d0a-6f3c2a1b4e5d"


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


@pytest.fixture
async def used(data: DataFolder) -> DataFolder:
    """A folder that was served once, with a project's sources in it."""
    open_data(data)
    async with store.open_database(data.database):
        pass
    (data.projects / ID).mkdir(parents=True)
    (data.projects / ID / "model.py").write_text("precious")
    return data


def all_in(folder: Path) -> dict[str, bytes]:
    return {str(each): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def refused(data: DataFolder) -> str:
    """The words of the refusal, which changed nothing."""
    before = all_in(data.root)
    with pytest.raises(DataFolderUnusable) as caught:
        open_data(data)
    assert all_in(data.root) == before
    return str(caught.value)


def test_a_first_start_makes_both_keys(data: DataFolder) -> None:
    """In an empty folder, and again where one was killed before it had a database."""
    secret = open_data(data)
    admin = data.admin_key.read_text()
    assert secret == data.secret_key.read_text().strip() != admin.strip()
    data.admin_key.unlink()
    data.database.touch()
    assert open_data(data) == secret
    assert data.admin_key.read_text() != admin


@fault(
    "the database is missing or empty",
    injection="each kind of data in the folder, without its database",
    bound="the start is refused with what to do, and nothing is changed",
)
@pytest.mark.parametrize(
    "place",
    [
        f"projects/{ID}/file",
        f"snapshots/{ID}.git/file",
        f"builds/{ID}/file",
        f"experiments/{ID}/file",
        f"logs/builds/{ID}.log",
        f"logs/experiments/{ID}.log",
        f"logs/models/{ID}/replica.log",
        f"cache/pip/{ID}/file",
        "predictd.db-wal",
        "generation",
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_data_without_a_database(data: DataFolder, place: str, empty: bool) -> None:
    """With any file of an earlier gateway, a start without its database is refused, and says what
    exists and what to do."""
    (data.root / place).parent.mkdir(parents=True, exist_ok=True)
    (data.root / place).write_text("precious")
    if empty:
        data.database.touch()
    told = refused(data)
    assert place.rpartition("/")[0].partition(ID)[0].rstrip("/") in told
    assert f"predictd.db {'is empty' if empty else 'is missing'}" in told
    for remedy in ("Put the database back", "predictd restore FILE", f"mv {data.root} "):
        assert remedy in told


@fault(
    "a lost key",
    injection="`secret.key` or `admin.key` missing, empty or garbage beside a database",
    bound="the start is refused with what to do; no other key takes its place",
)
@pytest.mark.parametrize("name", ["secret.key", "admin.key"])
@pytest.mark.parametrize(
    "damage",
    [Path.unlink, Path.write_text, Path.write_bytes],
    ids=["missing", "empty", "garbage"],
)
async def test_a_key_that_is_gone(
    used: DataFolder, name: str, damage: Callable[..., object]
) -> None:
    """Beside a database a key is not replaced: the start is refused. The command that the refusal
    names makes a new one."""
    key = used.root / name
    content: dict[object, tuple[object, ...]] = {
        Path.unlink: (),
        Path.write_text: ("\n",),
        Path.write_bytes: (b"\xff\x00garbage",),
    }
    damage(key, *content[damage])
    told = refused(used)
    assert name in told
    assert "predictd restore FILE" in told
    command = told.rpartition("make it: `")[2].rstrip("`")
    subprocess.run(["sh", "-c", command], check=True)
    assert open_data(used) == used.secret_key.read_text()[:64]


async def test_a_start_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    """Neither files nor folders; with the database back the gateway serves what there was."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        await gateway.post("/projects", {"name": "own", "template": "python"})
    lost = shutil.move(tmp_path / "data" / "predictd.db", tmp_path)
    before = all_in(tmp_path / "data")
    with pytest.RaisesGroup(DataFolderUnusable, allow_unwrapped=True, flatten_subgroups=True):
        async with running(settings):
            pytest.fail("it started")
    after = all_in(tmp_path / "data")
    after.pop(str(tmp_path / "data" / "lock"))
    before.pop(str(tmp_path / "data" / "lock"))
    assert after == before
    shutil.move(lost, tmp_path / "data")
    async with running(settings) as gateway:
        projects = (await gateway.get("/projects"))["projects"]
        assert [each["name"] for each in projects] == ["own"]
