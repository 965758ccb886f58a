"""A machine is lost, and another one continues from a backup.

Each backup is taken over HTTP by the command line, while others work, and restored by it.
"""

import random
import shutil
import signal
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from gateway.client import Client, Json
from tests.end_to_end.test_killed import ECHO, Customer, Ledger, serves
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.package_index import wheel
from tests.support.polling import until
from tests.support.served_gateway import (
    UNFINISHED,
    Gateway,
    Prober,
    at,
    copy,
    predictd,
    write,
)

# Says which environment answers: what the script left in it is not in the snapshot.
MARK = "import sys\nfrom pathlib import Path\n\nMARK = Path('made').read_text()\n\n"
MARK += "def mark(args):\n    return {'made': MARK, 'prefix': sys.prefix, **args}\n"
SCRIPT = "python -c 'import uuid; print(uuid.uuid4())' > made\n"


def marked_project(folder: Path) -> Path:
    return write(folder, {"mark.py": MARK, "cdsw-build.sh": SCRIPT})


def answer(gateway: Gateway, model: Json) -> Json:
    told = gateway.call(model, {"n": 1})
    assert told.status == 200, told.body
    found: Json = told.body["response"]
    return found


def answers(gateway: Gateway, model: Json) -> bool:
    return gateway.call(model, {"n": 1}).status == 200


def rows(gateway: Gateway) -> Json:
    """All that the admin API says of what was made; not how it fares."""
    models = gateway.client.listing("/models")
    builds = [gateway.client.listing(f"{at(m)}/builds") for m in models]
    deployments = [gateway.client.listing(f"{at(m)}/deployments") for m in models]
    return {
        "keys": {m["name"]: m["access_key"] for m in models},
        "builds": [(b["id"], b["build_number"], b["comment"]) for some in builds for b in some],
        "deployments": [
            (d["id"], d["deployment_number"], d["build_number"], d["status"], d["replicas"])
            for some in deployments
            for d in some
        ],
    }


def test_restore_to_the_same_path_is_complete(tmp_path: Path) -> None:
    """A restore to the same path has everything, and the very same environments serve; files that
    builds shared they share again."""
    data, kept = tmp_path / "data", tmp_path / "kept"
    kept.mkdir()
    with Gateway(data) as gateway:
        model = gateway.serve(marked_project(tmp_path / "mark"), "mark.py", "mark")
        gateway.build(model, "mark.py", "mark", comment="the second")
        before, key, said = rows(gateway), gateway.key, answer(gateway, model)
        backup = gateway.cli("backup", kept, "--json")
        assert backup.code == 0, backup.err
    (file,) = kept.iterdir()
    assert backup.json["file"] == str(file)
    assert file.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(data)
    restored = predictd("restore", file, "--data", data, "--json")
    assert restored.code == 0, restored.err
    (served,) = restored.json["served"]
    assert served == {"project": "mark", "model": "mark", "build": 1, "needs_rebuild": ""}
    sources = [path.stat() for path in data.glob("builds/*/code/mark.py")]
    assert len(sources) == 2
    assert {each.st_ino for each in sources} == {sources[0].st_ino}
    assert sources[0].st_nlink == 3  # the third is in the store
    with Gateway(data) as gateway:
        assert gateway.key == key
        until(lambda: answers(gateway, model))
        assert answer(gateway, model) == said
        assert rows(gateway) == before
        assert gateway.build(model, "mark.py", "mark")["build_number"] == 3


def test_restore_to_another_path_uses_the_environments(tmp_path: Path) -> None:
    """Restored elsewhere, the same environments serve, without an index, under the same numbers and
    keys; scripts that pip has installed run, and what cannot be moved is said to be rebuilt."""
    data, file = tmp_path / "data", tmp_path / "backup.tar"
    folder = marked_project(tmp_path / "mark")
    script = "PREDICTD_PIP=pip pip install -q --no-index vendored/*.whl\n"
    write(folder, {"cdsw-build.sh": f"{SCRIPT}{script}"})
    (folder / "vendored").mkdir()
    (folder / "vendored/tool-1.0-py3-none-any.whl").write_bytes(wheel("tool", "1.0", script=True))
    with Gateway(data) as gateway:
        model = gateway.serve(folder, "mark.py", "mark")
        before, said = rows(gateway), answer(gateway, model)
        frozen = freeze(data)
        assert frozen.startswith(b"tool @ file:///")
        assert gateway.cli("backup", file).code == 0
    shutil.rmtree(data)
    shutil.rmtree(folder)
    elsewhere = tmp_path / "else where"
    restored = predictd("restore", file, "--data", elsewhere, "--json")
    assert restored.code == 0, restored.err
    assert (restored.json["put_back"], restored.json["to_rebuild"]) == (1, 0)
    assert freeze(elsewhere) == frozen
    (tool,) = elsewhere.glob("environments/*/environment/bin/tool")
    assert subprocess.run([tool], capture_output=True, text=True).stdout == "1.0\n"
    with Gateway(elsewhere) as gateway:
        until(lambda: answers(gateway, model), 60)
        now = answer(gateway, model)
        assert now["made"] == said["made"]
        assert now["prefix"].startswith(str(elsewhere))
        assert rows(gateway) == before
        log = gateway.client.text(f"{at(model)}/builds/{before['builds'][0][0]}/log")
        assert "Rebuilding" not in log


def freeze(data: Path) -> bytes:
    """`pip freeze` of the one environment."""
    (python,) = data.glob("environments/*/environment/bin/python")
    return subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True).stdout


def test_restore_to_another_path_rebuilds(tmp_path: Path) -> None:
    """Restored elsewhere, deployed models whose files name the old path are rebuilt from their
    snapshots, though the project's folder is gone, under the same number and key, and serve; others
    serve meanwhile; other builds are rebuilt when they are deployed."""
    data, file = tmp_path / "data", tmp_path / "backup.tar"
    folder = marked_project(tmp_path / "mark")
    write(folder, {"cdsw-build.sh": f"{SCRIPT}echo $VIRTUAL_ENV > where\n"})
    with Gateway(data) as gateway:
        model = gateway.serve(folder, "mark.py", "mark")
        first = gateway.client.listing(f"{at(model)}/builds")[0]
        second = gateway.build(model, "mark.py", "mark")
        gateway.deploy(model, second)
        until(partial(has_settled, gateway, model))  # the first one takes a moment to stop
        own = gateway.client.post("/projects", {"name": "own", "template": "python"})
        before, said = rows(gateway), answer(gateway, model)
        assert gateway.cli("backup", file).code == 0
    shutil.rmtree(data)
    shutil.rmtree(folder)
    elsewhere = tmp_path / "elsewhere"
    restored = predictd("restore", file, "--data", elsewhere)
    assert restored.code == 0, restored.err
    assert f"made at {data}" in restored.out
    assert f"Missing here: {folder}," in restored.out
    with Gateway(elsewhere) as gateway:
        until(lambda: answers(gateway, model), 60)
        now = answer(gateway, model)
        assert now["made"] != said["made"]
        assert now["prefix"].startswith(str(elsewhere))
        assert rows(gateway) == before
        log = gateway.client.text(f"{at(model)}/builds/{second['id']}/log")
        assert "Rebuilding from the snapshot" in log
        assert not (elsewhere / "builds" / first["id"]).exists()
        assert gateway.deploy(model, first)["status"] == "deployed"
        assert answer(gateway, model)["prefix"].startswith(str(elsewhere / "environments"))
        assert gateway.client.get(f"/projects/{own['id']}/files")["files"]


def test_failed_rebuild_after_a_restore_stays_wanted(tmp_path: Path) -> None:
    """While a build cannot be rebuilt, its model is not ready but still wanted; once it can, the
    next start serves it."""
    data, file, door = tmp_path / "data", tmp_path / "backup.tar", tmp_path / "doors" / "door"
    door.parent.mkdir()
    door.touch()
    script = f"test -e {door}\n"
    with Gateway(data, shared_folders=str(door.parent)) as gateway:
        folder = write(tmp_path / "echo", {"echo.py": ECHO, "cdsw-build.sh": script})
        model = gateway.serve(folder, "echo.py", "echo")
        assert gateway.cli("backup", file).code == 0
    door.unlink()
    elsewhere = tmp_path / "elsewhere"
    assert predictd("restore", file, "--data", elsewhere).code == 0
    shutil.rmtree(elsewhere / "environments")
    with Gateway(elsewhere, shared_folders=str(door.parent)) as gateway:
        until(lambda: "rebuild.failed" in gateway.stderr, 60)
        assert gateway.call(model, {}).status == 503
        (deployment,) = gateway.client.listing(f"{at(model)}/deployments")
        assert deployment["status"] == "deployed"
        assert gateway.cli("model", "stop", "echo").code == 0
        gateway.client.post(f"{at(model)}/builds/{deployment['build_id']}/deployments")
        gateway.end(signal.SIGKILL)
        door.touch()
        gateway.start()
        until(lambda: answers(gateway, model), 60)


@fault(
    "a backup in the midst of life",
    injection="builds, deployments and deletions meanwhile",
    bound="of one instant: all of it is restored",
)
def test_backups_under_load_are_consistent(gateway: Gateway, tmp_path: Path) -> None:
    """Backups taken while a client makes, builds, deploys and deletes, and others predict, hold all
    that was acknowledged before each began; what served then serves after the restore."""
    prober = Prober(
        gateway,
        [gateway.serve(copy("badly", tmp_path / "badly"), "badly.py", "behave")],
        {"do": "echo"},
    )
    ledger = Ledger()
    customer = Customer(gateway.new_client(), ledger, random.Random(4), tmp_path / "projects")
    deleting = threading.Event()
    deleter = threading.Thread(target=make_and_delete, args=(gateway, tmp_path, deleting))
    known: list[tuple[Path, list[Json], list[tuple[Json, Json]], list[tuple[Json, Json]]]] = []
    with prober.running():
        customer.start()
        deleter.start()
        for number in range(3):
            until(partial(has_served, ledger, number), 60)
            file = tmp_path / f"{number}.tar"
            serving = list(ledger.serving.values())
            known.append((file, list(ledger.projects), list(ledger.builds), serving))
            outcome = gateway.cli("backup", file)
            assert outcome.code == 0, outcome.err
        deleting.set()
        deleter.join()
    gateway.end(signal.SIGKILL)
    customer.join()
    for file, projects, builds, serving in known:
        shutil.rmtree(gateway.data)
        restored = predictd("restore", file, "--data", gateway.data)
        assert restored.code == 0, restored.err
        assert "made at" not in restored.out
        gateway.start()
        for project in projects:
            assert gateway.client.get(f"/projects/{project['id']}")["creation_status"] == "success"
        for model, build in builds:
            found = gateway.client.get(f"{at(model)}/builds/{build['id']}")
            assert found["build_number"] == build["build_number"]
        for model, _ in serving:
            until(partial(serves, gateway, model), 60)
        gateway.end(signal.SIGTERM, 30)
    gateway.start()


def has_served(ledger: Ledger, number: int) -> bool:
    """Whether more than so many models have."""
    return len(ledger.serving) > number


def has_settled(gateway: Gateway, model: Json) -> bool:
    """Whether no deployment is on its way."""
    deployments = gateway.client.listing(f"{at(model)}/deployments")
    return not any(each["status"] in UNFINISHED for each in deployments)


def is_built(client: Client, build: str) -> bool:
    return bool(client.get(build)["status"] == "built")


def make_and_delete(gateway: Gateway, root: Path, until_set: threading.Event) -> None:
    """A user who deletes again what they made."""
    with gateway.new_client() as client:
        number = 0
        while not until_set.is_set():
            number += 1
            folder = write(root / "gone" / str(number), {"echo.py": ECHO})
            wish = {"name": f"gone-{number}", "template": "local", "path": str(folder)}
            project = client.post("/projects", wish)
            path = f"/projects/{project['id']}"
            model = client.post(f"{path}/models", {"name": "echo", "disable_authentication": True})
            build = client.post(
                f"{path}/models/{model['id']}/builds",
                {"file_path": "echo.py", "function_name": "echo"},
            )
            where = f"{path}/models/{model['id']}/builds/{build['id']}"
            until(partial(is_built, client, where), 60)
            client.delete(path)


@pytest.fixture(scope="module")
def small(new_folder: NewFolder) -> Path:
    """A backup with one project in it, of a gateway that is gone."""
    folder = new_folder("small")
    with Gateway(folder / "data") as gateway:
        gateway.client.post("/projects", {"name": "own", "template": "python"})
        assert gateway.cli("backup", folder / "small.tar").code == 0
    return folder / "small.tar"


@fault(
    "a damaged backup",
    injection="cut, and bits turned over",
    bound="refused by the name of what is damaged",
)
def test_cut_or_damaged_backup_is_refused(small: Path, tmp_path: Path) -> None:
    """With any cut and any changed byte of a file, restore says so and writes nothing."""
    whole = small.read_bytes()
    target, bad = tmp_path / "target", tmp_path / "bad.tar"
    chance = random.Random(5)  # behind the last file there are zeros only, which are not needed
    where = whole.index(b"SQLite format 3") + 5000
    damaged = whole[:where] + bytes([whole[where] ^ 1]) + whole[where + 1 :]
    for text, names in (
        (whole[: chance.randrange(len(whole.rstrip(b"\0")))], "bad.tar"),
        (whole[:10_240], "bad.tar"),
        (damaged, "predictd.db"),
        (b"", "bad.tar"),
        (b"something else " * 1000, "bad.tar"),
    ):
        bad.write_bytes(text)
        outcome = predictd("restore", bad, "--data", target)
        assert outcome.code == 1, outcome
        assert names in outcome.err
        assert not target.exists()


def test_restore_into_a_used_folder_is_refused(small: Path, tmp_path: Path) -> None:
    """A restore never overwrites a file and changes nothing there."""
    (tmp_path / "mine").write_text("mine")
    outcome = predictd("restore", small, "--data", tmp_path)
    assert outcome.code == 4
    assert "not empty" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_backup_overwrites_no_file(small: Path) -> None:
    """An existing file stays unchanged."""
    before = small.read_bytes()
    outcome = predictd("backup", small, "--data", small.parent / "data")
    assert outcome.code == 2
    assert small.read_bytes() == before
