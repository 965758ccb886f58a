"""Users, collaborators, keys and logging in, typed at a real gateway."""

import io
import os
import pty
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from gateway.cli.contexts import contexts_path
from tests.gateway.cli.conftest import Outcome, Predictd
from tests.gateway.conftest import Samples
from tests.support.gateway import ROOT, url_in


@pytest.fixture
def url(samples: Samples, data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The gateway of the sample models, which is this machine's."""
    monkeypatch.setenv("PREDICTD_DATA", str(samples.data))
    return url_in(samples.data)


@pytest.fixture
def ada(url: str, samples: Samples, predictd: Predictd) -> Iterator[str]:
    """A user of this test alone."""
    assert predictd("user", "add", "ada", "--full-name", "Ada L.").code == 0
    yield "ada"
    assert predictd("user", "rm", "ada", "--yes", "--data", str(samples.data)).code == 0


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets stdin, which is no terminal."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def asks(url: str, key: str) -> int:
    """The status of what this key asks of the admin API."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/api/v2/whoami", headers=headers).status_code


def row(outcome: Outcome, first: str) -> str:
    """The line of a table that begins so."""
    return next(line for line in outcome.out.splitlines() if line.startswith(first))


def test_users(url: str, predictd: Predictd) -> None:
    """A user is made with a password that is shown, made administrator and not, disabled, enabled
    and deleted; each of it is to be seen in the list."""
    made = predictd("user", "add", "bob", "--email", "b@example.org", "--json")
    assert len(made.json["password"]) > 20
    assert "bob" in predictd("user", "ls").out
    for command, standing in (
        (("set-admin", "bob"), "site administrator"),
        (("set-admin", "bob", "--off"), "user"),
        (("disable", "bob"), "disabled"),
        (("enable", "bob"), "user"),
    ):
        assert predictd("user", *command).code == 0
        assert f"b@example.org  {standing}  " in row(predictd("user", "ls"), "bob")
    assert predictd("user", "rm", "bob").code == 2  # no terminal to confirm at
    assert "Deleted user" in predictd("user", "rm", "bob", "--yes").out
    assert predictd("user", "disable", "bob").code == 4
    assert predictd("user", "disable", "b/o b").code == 4


def test_passwords(ada: str, predictd: Predictd, typing: Callable[[str], None]) -> None:
    """A password is the first line of stdin; none is no password; --none takes it away."""
    typing("correct horse\nnot this\n")
    outcome = predictd("user", "set-password", ada)
    assert "Set the password of ada, to be changed" in outcome.out
    assert "correct horse" not in outcome.out + outcome.err
    typing("")
    assert predictd("user", "set-password", ada).code == 2
    assert row(predictd("user", "ls"), ada).split()[-4:-2] == ["must", "change"]
    assert predictd("user", "set-password", ada, "--none").code == 0
    assert row(predictd("user", "ls"), ada).split()[-3] == "none"


def test_password_is_not_echoed(ada: str) -> None:
    """At a terminal it is asked for twice, and shown neither time."""
    command = [sys.executable, "-m", "gateway.cli", "user", "set-password", ada]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(command[0], command)
    seen = b""
    for prompt in (b"New password for ada: ", b"Repeat the password: "):
        while not seen.endswith(prompt):
            seen += os.read(terminal, 1024)
        os.write(terminal, b"correct horse\n")
    with open(terminal, "rb", closefd=True, buffering=0) as rest:
        while b"to be changed" not in seen:
            seen += rest.read(1024)
        assert os.waitpid(pid, 0)[1] == 0
    assert b"correct horse" not in seen


def test_keys(url: str, ada: str, predictd: Predictd) -> None:
    """A key is shown once, listed by the beginning of its id, and is none when it was revoked."""
    made = predictd("key", "create", "--kind", "api", "--user", ada, "--comment", "ci")
    key = made.out.splitlines()[0]
    assert asks(url, key) == 200
    listed = predictd("key", "ls", "--user", ada)
    assert "  api   " in row(listed, key[:12])
    assert listed.out.rstrip().endswith("ci")
    assert key.partition(".")[2] not in listed.out
    assert predictd("key", "revoke", "0123456789abcdef", "--user", ada).code == 4
    assert "Revoked" in predictd("key", "revoke", key[:12], "--user", ada).out
    assert asks(url, key) == 401


def test_keys_that_expire(ada: str, predictd: Predictd) -> None:
    """In a year unless it is said otherwise: so many days, a date, or never."""
    for asked, days in (((), 365), (("--expires", "30d"), 30), (("--expires", "2y"), 730)):
        made = predictd("key", "create", "--user", ada, "--json", *asked).json
        lives = datetime.fromisoformat(made["expiry_date"]) - datetime.now(UTC)
        assert abs(lives - timedelta(days=days)) < timedelta(minutes=5)
    dated = predictd("key", "create", "--user", ada, "--json", "--expires", "2999-01-31").json
    assert dated["expiry_date"].startswith("2999-01-31T00:00:00")
    never = predictd("key", "create", "--user", ada, "--expires", "never")
    assert "never expires" in never.out
    assert predictd("key", "create", "--user", ada, "--expires", "2001-01-31").code == 4
    assert predictd("key", "create", "--user", ada, "--expires", "soon").code == 2


def test_key_revoke_all(ada: str, predictd: Predictd) -> None:
    """They go together, after a yes; those of other kinds stay."""
    for kind in ("model", "model", "legacy"):
        predictd("key", "create", "--user", ada, "--kind", kind)
    assert predictd("key", "revoke", "--all", "--user", ada).code == 2
    assert predictd("key", "revoke", "--all", "--user", ada, "--yes").code == 0
    left = predictd("key", "ls", "--user", ada, "--json").json["keys"]
    assert [each["kind"] for each in left] == ["legacy"]


def test_ambiguous_key_is_refused(ada: str, predictd: Predictd) -> None:
    """Is never guessed."""
    for _ in range(2):
        predictd("key", "create", "--user", ada)
    outcome = predictd("key", "revoke", "", "--user", ada)
    assert (outcome.code, "several keys" in outcome.err) == (2, True)


def test_collaborators(ada: str, predictd: Predictd) -> None:
    """A role is given, shown, changed and taken away."""
    for role in ("viewer", "operator"):
        assert predictd("collaborator", "add", "add", ada, role).code == 0
        assert row(predictd("collaborator", "ls", "add"), ada).endswith(role)
    assert predictd("collaborator", "rm", "add", ada).code == 0
    assert ada not in predictd("collaborator", "ls", "add").out
    assert predictd("collaborator", "rm", "add", ada).code == 4


def test_login(
    url: str,
    ada: str,
    predictd: Predictd,
    typing: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where one has logged in, commands go to and say who; a named data folder or another address
    is neither asked with that key nor instead of it; logging out ends it."""
    key = predictd("key", "create", "--kind", "api", "--user", ada, "--json").json["api_key"]
    monkeypatch.delenv("PREDICTD_DATA")
    typing(f"{key}\n")
    assert f"Logged in to {url} as ada, context" in predictd("login", f"{url}/").out
    path = contexts_path(os.environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    who = predictd("whoami")
    assert "ada (Ada L.)" in who.out
    assert "api key" in who.out
    assert predictd("whoami", "--url", url, "--json").json["username"] == ada
    assert predictd("whoami", "--url", "http://192.0.2.1:8080").code == 2
    assert predictd("whoami", "--data", str(path.parent)).code == 3
    monkeypatch.setenv("PREDICTD_API_KEY", "another")
    assert predictd("whoami").code == 0
    assert predictd("whoami", "--url", url).code == 4
    monkeypatch.delenv("PREDICTD_API_KEY")
    assert url in predictd("logout").out
    assert not path.exists()
    assert "Not logged in" in predictd("logout").out


def test_invalid_login_is_not_stored(
    url: str, ada: str, predictd: Predictd, typing: Callable[[str], None]
) -> None:
    """A key that opens nothing there, or only models, is not kept; a broken file says so."""
    model_key = predictd("key", "create", "--user", ada, "--json").json["api_key"]
    for text, code in (("", 2), ("wrong", 4), (model_key, 4)):
        typing(text)
        assert predictd("login", url).code == code
    path = contexts_path(os.environ)
    assert not path.exists()
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    outcome = predictd("whoami", "--url", url)
    assert (outcome.code, str(path) in outcome.err) == (2, True)


def test_key_calls_a_model(ada: str, predictd: Predictd) -> None:
    """The curl that `deploy` shows calls the model with a key of `key new` in place of KEY; a new
    access key ends the old one before it is shown."""
    if not shutil.which("curl"):
        pytest.skip("no curl")
    deployed = predictd(
        "deploy", "add.py:add", "--project", "add", "--name", "asks", "--replicas=1"
    )
    line = row(deployed, "  curl").replace("{}", '{"a": 1, "b": 2}')
    predictd("collaborator", "add", "add", ada, "operator")
    key = predictd("key", "create", "--user", ada, "--json").json["api_key"]
    line = line.replace("KEY", key)
    assert '"response":3' in curl(line)
    assert "model.unauthorized" in curl(line.replace(key, "none"))
    old = predictd("status", "asks", "--json").json["model"]["access_key"]
    assert predictd("model", "rotate-key", "asks").code == 2
    new = predictd("model", "rotate-key", "asks", "--yes", "--json").json["access_key"]
    assert "model.accesskey" in curl(line)
    assert '"response":3' in curl(line.replace(old, new))
    assert predictd("model", "rm", "asks", "--yes").code == 0


def curl(line: str) -> str:
    done = subprocess.run([*shlex.split(line), "-s"], capture_output=True, check=True, text=True)
    return done.stdout


def test_variables_of_a_project(
    url: str, predictd: Predictd, typing: Callable[[str], None], tmp_path: Path
) -> None:
    """Values are typed or read, never arguments; secrets are never shown, others are."""
    assert predictd("project", "create", "secretive").code == 0
    of = ("--project", "secretive")
    typing("hunter2\n")
    made = predictd("env", "set", "TOKEN", "--secret", *of, "--json")
    assert (made.code, made.json["set"]) == (0, ["TOKEN"])
    typing("two\nlines\n")
    assert "Set KEY of project 'secretive'." in predictd("env", "set", "KEY", *of).out
    (tmp_path / "value").write_text("from a file\n")
    assert predictd("env", "set", "FILE", "--from", str(tmp_path / "value"), *of).code == 0
    (tmp_path / ".env").write_text("A=1\nexport B='two $'\n")
    assert "Set A, B of" in predictd("env", "set", "--file", str(tmp_path / ".env"), *of).out
    listed = predictd("env", "ls", *of, "--json")
    values = {each["name"]: each["value"] for each in listed.json["variables"]}
    assert values == {
        "A": "1", "B": "two $", "FILE": "from a file", "KEY": "two\nlines", "TOKEN": None,
    }  # fmt: skip
    assert "TOKEN  (secret)" in predictd("env", "ls", *of).out
    assert "hunter2" not in made.out + made.err + listed.out
    typing("\n")
    assert predictd("env", "set", "OTHER", *of).code == 2
    typing("x\n")
    assert "predictd sets this variable itself" in predictd("env", "set", "CDSW_DOMAIN", *of).err
    refused = predictd("env", "set", "NAME=hunter2", *of)
    assert refused.code == 2
    assert "hunter2" not in refused.out + refused.err
    (tmp_path / ".env").write_text("A=1\nB=$hunter2\n")
    refused = predictd("env", "set", "--file", str(tmp_path / ".env"), *of)
    assert "line 2: the value of B" in refused.err
    assert "hunter2" not in refused.err
    assert "Removed TOKEN, KEY" in predictd("env", "rm", "TOKEN", "KEY", *of).out
    assert predictd("env", "rm", "TOKEN", *of).code == 4
    assert predictd("project", "rm", "secretive", "--yes").code == 0


def test_variables_of_the_site(url: str, predictd: Predictd, typing: Callable[[str], None]) -> None:
    """The values of the site's variables are never shown, and one change keeps the others."""
    for name in ("INDEX", "OTHER"):
        typing("hunter2\n")
        assert f"Set {name} of the site." in predictd("env", "set", name, "--site").out
    shown = predictd("env", "ls", "--site").out + predictd("site", "show", "--json").out
    assert "INDEX  (secret)" in shown
    assert "hunter2" not in shown
    assert predictd("env", "rm", "INDEX", "--site").code == 0
    assert "OTHER" in predictd("env", "ls", "--site").out
    assert predictd("env", "rm", "OTHER", "--site").code == 0
