"""The data folder is for the gateway's account alone, with each umask."""

import stat
from pathlib import Path

import pytest

from tests.support.served_gateway import Gateway, copy

# What holds keys, variables, requests or code, and lies at the top.
OURS_ALONE = {"predictd.db", "predictd.db-wal", "predictd.db-shm", "admin.key", "secret.key"}
OURS_ALONE |= {"gateway.json", "lock"}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", ["000", "077"])
def test_data_folder_modes_do_not_depend_on_the_umask(tmp_path: Path, mask: str) -> None:
    """With a umask of 0 nothing in the data folder is writable for others, and what has secrets
    is not readable; with 077 models, which may be other users, read what they need and serve. A
    backup is for its owner alone while it is written and after."""
    data = tmp_path / "data"
    gateway = Gateway(data)
    gateway.wrapper = ["sh", "-c", f'umask {mask}; exec "$@"', "sh"]
    with gateway:
        model = gateway.serve(copy("add", tmp_path / "add"), "add.py", "add")
        assert gateway.call(model, {"a": 1, "b": 2}).status == 200
        project = gateway.client.post("/projects", {"name": "own", "template": "python"})
        gateway.client.upload(f"/projects/{project['id']}/files", {"data.txt": b"x"})
        assert mode_of(data) == 0o700
        for path in data.iterdir():
            if path.name in OURS_ALONE:
                assert mode_of(path) == 0o600, path
        assert {path.name for path in data.iterdir()} >= OURS_ALONE
        for path in data.rglob("*"):
            if not path.is_symlink() and not path.is_relative_to(data / "replicas"):
                assert not mode_of(path) & 0o022, (path, oct(mode_of(path)))
        backup = gateway.cli("backup", tmp_path / "backup.tar")
        assert backup.code == 0, backup.err
        assert mode_of(tmp_path / "backup.tar") == 0o600


def test_open_data_folder_is_made_private_at_the_start(tmp_path: Path) -> None:
    """A data folder of mode 0755 is made private at the start, and a model in it serves."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    with Gateway(data) as gateway:
        assert mode_of(data) == 0o700
        model = gateway.serve(copy("add", tmp_path / "add"), "add.py", "add")
        assert gateway.call(model, {"a": 1, "b": 2}).status == 200
    data.chmod(0o755)
    with gateway:
        assert mode_of(data) == 0o700
