"""Bad input, wherever it comes in: a clear error, the right exit code, nothing lost."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.served_gateway import ROOT, Gateway, copy, environment, predictd, write
from tests.support.skipping import not_here


@pytest.fixture(scope="module")
def shop(new_folder: NewFolder) -> Iterator[Gateway]:
    """A gateway that serves `add`; no bad input may change that."""
    root = new_folder("shop")
    with Gateway(root / "data") as gateway:
        project = copy("add", root / "add")
        outcome = gateway.cli(
            "deploy", "--no-auth", "add.py:add", "--example", '{"a":3,"b":5}', cwd=project
        )
        assert outcome.code == 0, outcome.err
        assert "answers the example with 8" in outcome.out
        copy("badly", root / "badly")
        yield gateway


@pytest.fixture(autouse=True)
def nothing_is_lost(shop: Gateway) -> Iterator[None]:
    """After each test the model serves as before."""
    yield
    model = next(each for each in shop.client.listing("/models") if each["name"] == "add")
    assert shop.call(model, {"a": 3, "b": 5}).body["response"] == 8


# Arguments of `deploy` in the folder of `add`: the exit code, and what the user is told.
DEPLOYS = {
    "no such file": (["no.py:add"], 2, "file 'no.py' does not exist"),
    "no such function": (["add.py:subtract"], 4, "defines no 'subtract'"),
    "no function named": (["add.py"], 2, "names no function"),
    "outside, relative": (["../badly/badly.py:behave"], 2, "is not named by its path in"),
    "outside, absolute": (["/etc/passwd:x"], 2, "is not named by its path in"),
    "no replicas": (["add.py:add", "--replicas", "0"], 2, "not a number of replicas"),
    "ten replicas": (["add.py:add", "--replicas", "10"], 4, "1 to 9"),
    "unknown kernel": (["add.py:add", "--kernel", "cobol"], 4, "cobol"),
    "old kernel": (["add.py:add", "--kernel", "python2.7"], 4, "python2.7"),
    "example is no JSON": (["add.py:add", "--example", "{a}"], 2, "is not JSON"),
    "example does not fit": (["add.py:add", "--example", "{}"], 1, "KeyError"),
    "no memory": (["add.py:add", "--memory", "0"], 2, "not an amount of memory"),
    "no variable": (["add.py:add", "--env", "1A=2"], 2, "not NAME=VALUE"),
    "no such project": (["add.py:add", "--project", "ad"], 4, "project 'ad' does not exist"),
}


@pytest.mark.parametrize("case", DEPLOYS)
def test_bad_deployment_names_what_is_wrong(
    shop: Gateway, new_folder: NewFolder, case: str
) -> None:
    """Each bad deployment is refused or fails with a message that names what is wrong."""
    arguments, code, told = DEPLOYS[case]
    folder = shop.data.parent / "add"
    outcome = shop.cli("deploy", "--no-auth", *arguments, cwd=folder)
    assert outcome.code == code, outcome.err
    assert told in outcome.err
    assert "/gateway/" not in outcome.err, "a traceback of our own"


def test_model_that_cannot_be_loaded_fails_its_build(shop: Gateway, tmp_path: Path) -> None:
    """The build fails with the error's type, and says where the traceback is."""
    folder = copy("import_error", tmp_path / "import_error")
    outcome = shop.cli("deploy", "--no-auth", "import_error.py:predict", cwd=folder)
    assert outcome.code == 1
    assert "ModuleNotFoundError" in outcome.err
    assert "predictd build log" in outcome.err


def test_model_with_a_syntax_error_is_refused(shop: Gateway, tmp_path: Path) -> None:
    """The first deploy of a file that Python cannot read is refused with file and line."""
    folder = copy("syntax_error", tmp_path / "syntax_error")
    outcome = shop.cli("deploy", "--no-auth", "syntax_error.py:predict", cwd=folder)
    assert outcome.code == 4
    assert "syntax_error.py is not valid for Python 3." in outcome.err
    assert "line " in outcome.err


# Raw bodies of POST /model: the status and the code.
LARGE = b'{"accessKey": "", "request": "' + b"x" * 6_000_000 + b'"}'
BODIES = {
    "empty": (b"", 400, "request.invalid"),
    "not JSON": (b"{]", 400, "request.invalid"),
    "not UTF-8": (b'{"request": "\xff"}', 400, "request.invalid"),
    "no request": (b'{"accessKey": "m"}', 400, "request.invalid"),
    "too deep": (b'{"request": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "request.invalid"),
    "no key": (b'{"request": 1}', 401, "model.accesskey"),
    "wrong key": (b'{"accessKey": "m123", "request": 1}', 401, "model.accesskey"),
    "6 MB": (LARGE, 413, "request.toolarge"),
}


@fault(
    "JSON bombs and what is no JSON",
    injection="depth 100,000, 6 MB, not UTF-8, empty",
    bound="400, 401 or 413 with the reason; the model serves on",
)
@pytest.mark.parametrize("case", BODIES)
def test_bad_model_call_has_one_json_body(shop: Gateway, case: str) -> None:
    """Refusals of the gateway have no `success`, and say what to do in one JSON body."""
    body, status, code = BODIES[case]
    told = shop.post(body)
    assert (told.status, told.body["error"]["code"]) == (status, code)
    assert "success" not in told.body
    assert told.body["request_id"] == told.headers["X-Request-Id"]


def test_other_media_type_is_refused(shop: Gateway) -> None:
    """A body that is not JSON is refused by its type."""
    told = shop.post(b"a=1", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (told.status, told.body["error"]["code"]) == (415, "request.media")


# Verbs on the running gateway: arguments, environment, exit code, and what the user is told.
VERBS = {
    "call: not JSON": (["call", "add", "{]"], {}, 2, "is not JSON"),
    "call: no such model": (["call", "ad", "1"], {}, 4, "did you mean 'add'?"),
    "call: 6 MB": (["call", "add", "-"], {}, 4, "larger than"),
    "wrong admin key": (["ls"], {"PREDICTD_API_KEY": "wrong"}, 4, "the API key is not valid"),
    "no gateway there": (["ls", "--url", "http://127.0.0.1:1"], {}, 3, "no gateway answers"),
    "no such build": (["model", "redeploy", "add", "--build", "99"], {}, 4, "has no build 99"),
    "nothing to go back to": (["rollback", "add"], {}, 4, "has no other build that served before"),
    "rm without a yes": (["model", "rm", "add"], {}, 2, "--yes"),
}


@pytest.mark.parametrize("case", VERBS)
def test_bad_command_says_the_next_step(shop: Gateway, case: str) -> None:
    """Each verb says what is wrong and what to do next."""
    arguments, environment, code, told = VERBS[case]
    outcome = shop.cli(*arguments, stdin='"' + "x" * 6_000_000 + '"', **environment)
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    assert told in outcome.err


@fault(
    "the port is in use",
    injection="another listens there",
    bound="refused by name, without a traceback",
)
def test_a_port_in_use(tmp_path: Path) -> None:
    """A second server on a port names the port, and has not touched the builds of its data
    folder."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = predictd("serve", "--data", tmp_path / "data", "--port", port)
    assert outcome.code == 1
    assert f"127.0.0.1:{port}: Address already in use" in outcome.err
    assert "Traceback" not in outcome.err


@fault(
    "two gateways on one folder",
    injection="a second serve",
    bound="refused with the owner's pid, who serves on",
)
def test_second_gateway_on_one_data_folder_is_refused(shop: Gateway) -> None:
    """It names the process that owns the folder, which continues to serve."""
    outcome = predictd("serve", "--data", shop.data, "--port", 0)
    assert outcome.code == 1
    assert str(shop.pid) in outcome.err
    assert "Traceback" not in outcome.err


@fault(
    "a read-only file system",
    injection="mounted so before the start",
    bound="refused by name",
)
def test_read_only_file_system_prevents_the_start(tmp_path: Path) -> None:
    """The gateway does not start, and names the folder that it cannot write."""
    # Mounted in a namespace of its own, so that it is gone with the command; root needs it.
    if os.geteuid() or not shutil.which("unshare"):
        not_here("only root can mount")
    script = (
        f'mount -t tmpfs -o ro none {tmp_path} && exec "$0" -m gateway.cli serve'
        f" --data {tmp_path}/data --port 0"
    )
    told = _unshared(script)
    assert told.returncode == 1
    assert f"{tmp_path}/data" in told.stderr
    assert "Read-only file system" in told.stderr
    assert "Traceback" not in told.stderr


def _unshared(script: str) -> "subprocess.CompletedProcess[str]":
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("path", ["/proc/predictd", "/dev/null", "/dev/null/data"])
def test_impossible_data_folder_prevents_the_start(path: str) -> None:
    """The gateway does not start, and names the folder that it cannot make."""
    outcome = predictd("serve", "--data", path, "--port", 0)
    assert outcome.code == 1
    assert path in outcome.err
    assert "Traceback" not in outcome.err


def test_symbolic_links_that_leave_the_project_are_refused(shop: Gateway, tmp_path: Path) -> None:
    """Links that leave the project are refused by name."""
    folder = write(tmp_path / "links", {"m.py": "def f(x):\n    return x\n"})
    (folder / "away").symlink_to("/etc/passwd")
    outcome = shop.cli("deploy", "--no-auth", "m.py:f", cwd=folder)
    assert outcome.code == 4
    assert "away" in outcome.err
