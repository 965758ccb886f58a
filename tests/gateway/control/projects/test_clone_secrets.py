"""A name and a password in a git address are git's alone: nothing shows, logs or keeps them."""

import logging
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import Gateway, refusal, running, settings_for
from tests.support.git_server import commands, git_server

PASSWORD = "canary-of-the-repository"


def repository(folder: Path) -> Path:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    folder.mkdir()
    (folder / "model.py").write_text("def f(args): return 1\n")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


async def test_nothing_keeps_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """They are in no answer to any role, no file of the data folder, no log, no entry of the audit
    trail, no backup and on no command line, whether the clone succeeds or fails."""
    caplog.set_level(logging.DEBUG)
    repository(tmp_path / "code")
    settings = settings_for(tmp_path / "data", access_log=str(tmp_path / "access.log"))
    told: list[str] = []
    with git_server(tmp_path, "ada", PASSWORD) as server:
        server.look = commands
        async with running(settings) as gateway:
            keys = {name: await _key_of(gateway, name) for name in ("viewer", "stranger")}
            for path, visibility in (("code/.git", "public"), ("absent", "private")):
                url = f"http://ada:{PASSWORD}@127.0.0.1:{server.port}/{path}"
                asked = {"name": path[:4], "template": "git", "git_url": url,
                         "visibility": visibility}  # fmt: skip
                answer = await gateway.admin.post("/projects", json=asked)
                told.append(answer.text)
                project = f"/projects/{answer.json()['id']}"
                ended = await gateway.until(project, lambda p: p["creation_status"] != "creating")
                assert ended["git_url"] == url.replace(f"ada:{PASSWORD}@", "")
                member = {"permission": "viewer"}
                added = await gateway.admin.put(f"{project}/collaborators/viewer", json=member)
                added.raise_for_status()
                for key in (None, *keys.values()):
                    told += await _all_about(gateway, project, key)
            wrong = {"name": "x", "git_url": f"https://h/x?token={PASSWORD}"}
            answer = await gateway.admin.post("/projects", json=wrong)
            assert refusal(answer) == (400, "argument.invalid")
            told += [answer.text, (await gateway.admin.get("/audit")).text]
            backup = (await gateway.admin.get("/backup")).raise_for_status()
            told.append(backup.content.decode(errors="replace"))
    assert server.asked
    told += [str(seen) for seen in server.seen]
    told += [caplog.text, *capfd.readouterr()]
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    told += [path.read_bytes().decode(errors="replace") for path in files]
    told.append((tmp_path / "access.log").read_text())
    assert "model.py" in backup.text
    for text in told:
        assert PASSWORD not in text


async def _key_of(gateway: Gateway, name: str) -> str:
    await gateway.post("/users", {"username": name, "password": "a long password"})
    return str((await gateway.post(f"/users/{name}/v2_keys", {}))["api_key"])


async def _all_about(gateway: Gateway, project: str, key: str | None) -> list[str]:
    """All that a caller is shown of a project, its files included."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    paths = ("/projects", project, f"{project}/files", f"{project}/files/.git/config:download")
    answers: list[httpx.Response] = [
        await gateway.admin.get(path, headers=headers) for path in paths
    ]
    return [answer.text for answer in answers]


async def test_who_is_no_administrator(tmp_path: Path) -> None:
    """A user's clone reaches nothing on the gateway's machine, and is not told what is there."""
    repository(tmp_path / "code")
    with git_server(tmp_path) as server:
        async with running(settings_for(tmp_path / "data")) as gateway:
            headers = {"Authorization": f"Bearer {await _key_of(gateway, 'ada')}"}
            told = set()
            for number, port in enumerate((server.port, gateway.port, 1)):
                url = f"http://127.0.0.1:{port}/code/.git"
                asked = {"name": f"p{number}", "template": "git", "git_url": url}
                made = (await gateway.admin.post("/projects", json=asked, headers=headers)).json()
                ended = await gateway.until(
                    f"/projects/{made['id']}", lambda p: p["creation_status"] != "creating"
                )
                told.add((ended["creation_status"], ended["creation_error"]))
    assert not server.asked
    [(status, error)] = told
    assert status == "failure"
    assert "only administrators" in error
