"""An environment is made once, at the isolation level of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import Json
from tests.support.package_index import PackageIndex, serving
from tests.support.served_gateway import Gateway, write

MODEL = "import greeting\n\n\ndef greet(args):\n    return greeting.VERSION\n"
AGAIN = "again: the script would make the same"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex()) as served:
        served.add("greeting", "1.0")
        yield served


def environments(gateway: Gateway) -> set[str]:
    return {path.name for path in (gateway.data / "environments").iterdir()}


def built(gateway: Gateway, model: Json, number: int) -> str:
    """The log of a new build, which succeeded."""
    build = gateway.build(model, "greet.py", "greet")
    assert build["status"] == "built", build["failure"]
    return gateway.cli("build", "log", "greet", str(number)).out


def test_environment_is_made_again_only_if_it_would_differ(
    gateway: Gateway, tmp_path: Path, index: PackageIndex
) -> None:
    """Equal files, and files that the script does not read, use the environment again. What the
    script reads, a name beside it and a new version on the index make another one."""
    folder = tmp_path / "hello"
    script = "pip install greeting\ncp words.txt said.txt\n"
    write(folder, {"greet.py": MODEL, "words.txt": "hi\n", "cdsw-build.sh": script})
    project = gateway.project(folder)
    variables = {"environment": {"PIP_INDEX_URL": index.url}}
    project = gateway.client.patch(f"/projects/{project['id']}", variables)
    model = gateway.model(project, "greet")

    assert AGAIN not in built(gateway, model, 1)
    first = environments(gateway)
    assert len(first) == 1
    assert AGAIN in built(gateway, model, 2)
    write(folder, {"greet.py": MODEL + "# changed\n"})
    assert AGAIN in built(gateway, model, 3)
    assert environments(gateway) == first
    write(folder, {"words.txt": "hello\n"})
    assert AGAIN not in built(gateway, model, 4)
    write(folder, {"notes.txt": ""})
    assert AGAIN not in built(gateway, model, 5)
    assert AGAIN in built(gateway, model, 6)
    index.add("greeting", "1.1")
    assert AGAIN not in built(gateway, model, 7)
    assert len(environments(gateway)) == 4


INSTALLED_BY_OTHERS = """
set -e
pip install greeting
python - <<'END'
import pathlib, sysconfig
folder = pathlib.Path(sysconfig.get_path("purelib")) / "other-1.0.dist-info"
folder.mkdir()
(folder / "METADATA").write_text("Name: other\\nVersion: 1.0\\n")
END
"""


def test_package_without_a_request_makes_the_environment_again(
    gateway: Gateway, tmp_path: Path, index: PackageIndex
) -> None:
    """What a script installs beside the requests of its pip, such as by a uv that it has
    installed, has another version one day: the environment is not used again."""
    folder = tmp_path / "hello"
    write(folder, {"greet.py": MODEL, "cdsw-build.sh": INSTALLED_BY_OTHERS})
    project = gateway.project(folder)
    variables = {"environment": {"PIP_INDEX_URL": index.url}}
    project = gateway.client.patch(f"/projects/{project['id']}", variables)
    model = gateway.model(project, "greet")
    assert "the script installed packages without pip" in built(gateway, model, 1)
    assert AGAIN not in built(gateway, model, 2)


CHANGED_IN_PLACE = """
python3 - <<'END'
import os
found = os.stat("words.txt")
with open("words.txt", "r+") as file:
    file.write("ho")
os.utime("words.txt", ns=(found.st_atime_ns, found.st_mtime_ns))
END
"""


def test_change_in_place_is_made_again(gateway: Gateway, tmp_path: Path) -> None:
    """A file that a script has changed without a trace in its size and times is changed in the
    next build, too."""
    folder = tmp_path / "hello"
    model_py = "def greet(args): ...\n"
    write(folder, {"greet.py": model_py, "words.txt": "hi", "cdsw-build.sh": CHANGED_IN_PLACE})
    model = gateway.model(gateway.project(folder), "greet")
    built(gateway, model, 1)
    assert AGAIN in built(gateway, model, 2)
    words = [path.read_text() for path in gateway.data.glob("builds/*/code/words.txt")]
    assert words == ["ho", "ho"]
