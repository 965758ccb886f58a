"""A user without rights on the machine deploys from a folder and an account of their own."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.client import ServerUnreachable
from gateway.client.packing import pack
from tests.support.ordinary_user import USER, as_ordinary_user
from tests.support.polling import until
from tests.support.served_gateway import COMMAND, ROOT, Gateway, Outcome, environment, write

MODEL = """\
import os


def add(args):
    return args["a"] + args["b"]


def fails(args):
    raise ValueError(f"{__file__} {os.getcwd()}")
"""


class Account(NamedTuple):
    """An account of the machine that has nothing but its home."""

    wrapper: list[str]
    home: Path

    def predictd(self, *arguments: object, stdin: str = "") -> Outcome:
        done = subprocess.run(
            [*self.wrapper, *COMMAND, *map(str, arguments)],
            cwd=self.home / "my-project",
            env=environment(XDG_CONFIG_HOME=str(self.home / ".config")),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


def new_user(gateway: Gateway, name: str) -> str:
    """An API key of a new user."""
    gateway.client.post("/users", {"username": name, "password": "correct horse battery"})
    return str(gateway.client.post(f"/users/{name}/v2_keys", {})["api_key"])


@pytest.fixture
def account(tmp_path: Path) -> Account:
    home = tmp_path / "home"
    tmp_path.chmod(0o755)
    pythons = {Path(sys.executable).resolve().parents[1], Path(sys.base_prefix)}
    wrapper = as_ordinary_user(home, [tmp_path, ROOT, *pythons])
    folder = write(home / "my-project", {"model.py": MODEL, ".gitignore": "*.csv\n", "x.csv": "1"})
    for path in (folder, *folder.iterdir()):
        subprocess.run(["chown", str(USER), path], check=True)
    return Account(wrapper, home)


def test_user_without_rights_deploys_and_sees_no_path(gateway: Gateway, account: Account) -> None:
    """She logs in with a key, deploys her folder, is refused where she should be, and no answer,
    message or log names a path of the server."""
    said: list[str] = []

    def run(*arguments: object, stdin: str = "") -> Outcome:
        outcome = account.predictd(*arguments, stdin=stdin)
        said.extend((outcome.out, outcome.err))
        return outcome

    key = new_user(gateway, "ada")
    theirs = gateway.client.post("/projects", {"name": "theirs", "template": "blank"})
    assert run("login", gateway.url, stdin=f"{key}\n").code == 0
    small = ("--replicas", "1", "--memory", "256MiB")
    example = ("--example", '{"a": 1, "b": 2}')
    deployed = run("deploy", "model.py:add", "--no-auth", *small, *example)
    assert deployed.code == 0, deployed.err
    assert "It answers the example with 3." in deployed.out
    assert "x.csv" in deployed.err
    assert run("deploy", "model.py:fails", "--no-auth", *small).code == 0
    assert run("call", "fails", "{}").code == 1
    for command in (
        ("project", "ls"), ("project", "show", "my-project"), ("status",), ("status", "add"),
        ("build", "ls", "add"), ("files", "ls"), ("logs", "fails"), ("whoami",),
    ):  # fmt: skip
        for flags in ((), ("--json",)):
            outcome = run(*command, *flags)
            assert outcome.code == 0, outcome.err
    assert run("files", "get", "model.py", "-").out == MODEL
    # Refused: a folder of the machine, another project, another user's rights.
    assert run("project", "create", "mine", "--path", "/etc").code == 2
    for name in ("theirs", theirs["id"]):
        assert run("deploy", "model.py:add", "--project", name, "--upload").code == 4
        assert run("files", "ls", "--project", name).code == 4
    assert run("user", "ls").code == 4
    assert run("site", "set", "max_replicas=3").code == 4
    assert run("files", "get", "../../predictd.db").code == 4
    assert run("deploy", "model.py:absent").code != 0
    found = [text for text in said if str(gateway.data) in text or "/spool/" in text]
    assert not found, found[:1]
    gateway.client.delete(f"/projects/{theirs['id']}")


def test_killed_in_an_upload_the_project_is_one_of_the_two(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A gateway that is killed while an upload arrives has the project as it was, and nothing of
    the upload, after its next start; the upload then succeeds."""
    project = gateway.client.post("/projects", {"name": "p", "template": "local"})
    root = gateway.data / "projects" / project["id"]
    folder = write(tmp_path / "folder", {"a": "before"})
    _send(gateway, project["id"], folder)
    (folder / "a").write_text("after")
    (folder / "big").write_bytes(bytes(range(256)) * 40_000)
    with pytest.raises(ServerUnreachable):
        _send(gateway, project["id"], folder, kill_after=5_000_000)
    assert _tree(root) == {"a": b"before"}
    gateway.start()
    assert _tree(root) == {"a": b"before"}
    assert not list((gateway.data / "spool").iterdir())
    _send(gateway, project["id"], folder)
    assert _tree(root) == {each.name: each.read_bytes() for each in folder.iterdir()}


def _send(gateway: Gateway, project_id: str, folder: Path, kill_after: int = 0) -> None:
    packed = pack(folder.resolve())

    def killing(done: int, _: int) -> None:
        if kill_after and done >= kill_after and gateway._process is not None:
            spool = gateway.data / "spool"
            until(lambda: list(spool.rglob("contents/*")) or None, 30)
            gateway.end(signal.SIGKILL)

    body = packed.body(packed.all_contents(), killing)
    with gateway.new_client() as client:
        client.send("PUT", f"/projects/{project_id}/files:sync", "application/octet-stream", body)


def _tree(root: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in root.iterdir()}


def test_killed_client_leaves_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """A client that is killed in the middle of an upload leaves no file, and no changed project."""
    home = tmp_path / "home"
    folder = write(tmp_path / "sums", {"model.py": MODEL})
    variables = environment(XDG_CONFIG_HOME=str(home), PREDICTD_DATA=str(gateway.data))
    create = [*COMMAND, "files", "sync", "--project", "p"]
    project = gateway.client.post("/projects", {"name": "p", "template": "local"})
    subprocess.run(create, cwd=folder, env=variables, check=True, capture_output=True)
    (folder / "big").write_bytes(bytes(300_000_000))
    (folder / "model.py").write_text("")
    spool = gateway.data / "spool"
    with subprocess.Popen(create, cwd=folder, env=variables, stderr=subprocess.DEVNULL) as client:
        until(lambda: list(spool.rglob("contents/*")) or None, 60)
        client.kill()
    until(lambda: not list(spool.iterdir()) or None, 30)
    root = gateway.data / "projects" / project["id"]
    assert _tree(root) == {"model.py": MODEL.encode()}
    audit = json.dumps(gateway.client.listing("/audit"))
    assert audit.count("file.sync") == 1
