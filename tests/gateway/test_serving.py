"""Serving: the file by which programs on the machine find the gateway."""

import json
import logging
import os
from pathlib import Path

import pytest

from gateway import address_file
from gateway.data_folder import DataFolder


def test_the_address_is_there_while_the_gateway_is(tmp_path: Path) -> None:
    """The file holds URL and process id, over what a killed gateway left, and goes at the end."""
    path = tmp_path / "gateway.json"
    path.write_text('{"url": "http://old", "pid": 1}')
    with address_file.address_written(DataFolder(tmp_path), "http://127.0.0.1:1"):
        assert json.loads(path.read_text()) == {"url": "http://127.0.0.1:1", "pid": os.getpid()}
    assert not list(tmp_path.iterdir())


def test_the_address_of_a_gateway_with_tls(tmp_path: Path) -> None:
    """With TLS the file names the certificate, too, and is no longer than without."""
    path = tmp_path / "gateway.json"
    with address_file.address_written(DataFolder(tmp_path), "http://127.0.0.1:1"):
        plain = path.stat().st_size
    with address_file.address_written(DataFolder(tmp_path), "https://127.0.0.1:1", "x" * 2000):
        assert json.loads(path.read_text())["certificate"] == "x" * 2000
        assert path.stat().st_size == plain


def test_the_address_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without room for a new file the old one is written over; without an old one it is told."""

    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    path = tmp_path / "gateway.json"
    with address_file.address_written(DataFolder(tmp_path), "http://127.0.0.1:12345"):
        monkeypatch.setattr(Path, "write_bytes", full)
        with address_file.address_written(DataFolder(tmp_path), "http://127.0.0.1:1"):
            assert json.loads(path.read_text())["url"] == "http://127.0.0.1:1"
            assert [each.name for each in tmp_path.iterdir()] == ["gateway.json"]
    with (
        caplog.at_level(logging.WARNING),
        address_file.address_written(DataFolder(tmp_path), "http://127.0.0.1:1"),
    ):
        assert "address_file.not_written" in caplog.text
    assert not list(tmp_path.iterdir())
