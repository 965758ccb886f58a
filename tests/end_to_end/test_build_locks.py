"""Which packages a build has: shown, compared, and kept after its environment is gone."""

import shutil
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.pylock import Pylock

from gateway.client import ApiError, Json
from tests.support.package_index import PackageIndex, serving
from tests.support.polling import until
from tests.support.served_gateway import Gateway, at, write

FILE = "import greeting\n\n\ndef greet(args):\n    return greeting.VERSION\n"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex(password="secret")) as served:
        served.add("greeting", "1.0", requires=("polite",))
        served.add("polite", "2.5")
        yield served


def greeting_project(gateway: Gateway, folder: Path, index: PackageIndex) -> Json:
    """A project whose script installs an unpinned package."""
    write(folder, {"greet.py": FILE, "cdsw-build.sh": "pip install greeting\n"})
    project = gateway.project(folder)
    path = f"/projects/{project['id']}"
    return gateway.client.patch(path, {"environment": {"PIP_INDEX_URL": index.url}})


def test_lock_is_shown_and_compared(gateway: Gateway, tmp_path: Path, index: PackageIndex) -> None:
    """`build lock` prints a valid pylock.toml without a password; `build ls`, `build show` and
    `status` count and name packages; `build diff` says what differs in packages and files."""
    folder = tmp_path / "hello"
    project = greeting_project(gateway, folder, index)
    model = gateway.model(project, "greet")
    first = gateway.build(model, "greet.py", "greet")
    assert first["lock"]["packages"] == 2, first["failure"]
    index.add("greeting", "1.1")
    index.add("shouting", "9")
    write(folder, {"greet.py": FILE + "#\n", "cdsw-build.sh": "pip install -U greeting shouting\n"})
    second = gateway.build(model, "greet.py", "greet")

    text = gateway.cli("build", "lock", "greet", "1").out
    assert [str(each.name) for each in Pylock.from_dict(tomllib.loads(text)).packages] == [
        "greeting",
        "polite",
    ]
    assert "secret" not in text
    document = gateway.cli("build", "lock", "greet", "1", "--json").json
    assert document["id"] == first["lock"]["id"] != second["lock"]["id"]
    assert [(p["name"], p["version"]) for p in document["packages"]] == [
        ("greeting", "1.0"),
        ("polite", "2.5"),
    ]
    assert document["packages"][0]["files"][0]["hashes"]["sha256"]

    assert "PACKAGES" in gateway.cli("build", "ls", "greet").out
    assert "greeting" in gateway.cli("build", "show", "greet").out
    assert "2: built, 2 packages" in gateway.cli("status", "greet").out
    compared = gateway.cli("build", "diff", "greet", "1", "--json").json
    python = {"language": "python"}
    assert compared["packages"] == [
        {"name": "greeting", "kind": "version", "before": "1.0", "after": "1.1", **python},
        {"name": "polite", "kind": "removed", "before": "2.5", "after": "", **python},
        {"name": "shouting", "kind": "added", "before": "", "after": "9", **python},
    ]
    assert compared["files"] == [
        {"path": "cdsw-build.sh", "kind": "changed"},
        {"path": "greet.py", "kind": "changed"},
    ]
    shown = gateway.cli("build", "diff", "greet", "1", "2").out
    assert "greeting  1.0     1.1    version" in shown
    assert "greet.py       changed" in shown
    same = gateway.cli("build", "diff", "greet", "1", "1").out
    assert same == "build 1 and build 1 have equal packages and files.\n"


def test_build_without_a_lock_is_told(gateway: Gateway, tmp_path: Path) -> None:
    """A build that failed has no lock, and says so."""
    folder = write(tmp_path / "bad", {"bad.py": FILE, "cdsw-build.sh": "exit 1\n"})
    model = gateway.model(gateway.project(folder), "bad")
    build = gateway.build(model, "bad.py", "greet")
    assert build["lock"] is None
    with pytest.raises(ApiError, match="build 1 has no lock"):
        gateway.client.text(f"{at(model)}/builds/{build['id']}/lock")


def test_lost_environment_is_made_again_from_the_lock(tmp_path: Path, index: PackageIndex) -> None:
    """A build whose environment is lost is made again with its own versions, though the index has
    newer ones; where the index lost one, the rebuild fails and names it."""
    data = tmp_path / "data"
    with Gateway(data) as gateway:
        project = greeting_project(gateway, tmp_path / "hello", index)
        model = gateway.model(project, "greet")
        build = gateway.build(model, "greet.py", "greet")
        assert gateway.deploy(model, build)["status"] == "deployed"
        index.add("greeting", "1.1")
        gateway.end(signal.SIGTERM, 30)
        shutil.rmtree(data / "environments")
        gateway.start()
        until(lambda: gateway.call(model, {}).status == 200, 60)
        assert gateway.call(model, {}).body["response"] == "1.0"
        log = gateway.client.text(f"{at(model)}/builds/{build['id']}/log")
        assert "Installing the versions of the build's lock (2 packages)" in log
        again = gateway.client.get(f"{at(model)}/builds/{build['id']}")
        assert again["lock"] == build["lock"]

        gateway.end(signal.SIGTERM, 30)
        shutil.rmtree(data / "environments")
        index.remove("greeting", "1.0")
        gateway.start()
        until(lambda: "rebuild.failed" in gateway.stderr, 60)
        log = gateway.client.text(f"{at(model)}/builds/{build['id']}/log")
        assert "could not be made again from its lock" in log
        assert "greeting==1.0" in log
