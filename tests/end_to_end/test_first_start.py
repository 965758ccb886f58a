"""The very first start: a site administrator, and a password on the terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from gateway.cli.context import admin_key, running_address
from tests.support.polling import until
from tests.support.served_gateway import (
    ROOT,
)


def serve_on_a_terminal(data: Path) -> str:
    """What a gateway that is started at a terminal says until it serves; ends it then."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "gateway.cli", "serve", "--data", str(data), "--port", "0"]
    said = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=follower, stderr=follower) as process:
        os.close(follower)
        try:
            while "stop with Ctrl-C" not in said:
                said += os.read(leader, 4096).decode()
            until(lambda: (data / "gateway.json").exists())
            with running_address(data).client(admin_key(data)) as client:
                users = client.listing("/users")
            assert [(user["username"], user["administrator"]) for user in users] == [
                ("admin", True)
            ]
        finally:
            process.terminate()
    os.close(leader)
    return said


def test_first_password_is_shown_once(tmp_path: Path) -> None:
    """The first start at a terminal shows a password, which is nowhere on the disk; the next start
    shows none."""
    said = serve_on_a_terminal(tmp_path)
    found = re.search(r"admin, password: (\S+)", said)
    assert found is not None
    assert "must be changed" in said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or found[1].encode() not in path.read_bytes()
    assert "password" not in serve_on_a_terminal(tmp_path)


def test_service_shows_no_password(tmp_path: Path) -> None:
    """Without a terminal no password is shown, as it would stay in a log; the admin key is
    valid."""
    command = [sys.executable, "-m", "gateway.cli", "serve", "--data", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as it:
        until(lambda: (tmp_path / "gateway.json").exists())
        with running_address(tmp_path).client(admin_key(tmp_path)) as client:
            assert client.get("/users/admin")["has_password"] is False
        it.terminate()
        out, err = it.communicate()
    assert b"password" not in out + err
