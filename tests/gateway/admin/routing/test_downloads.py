"""Files on their way out: whole, in part, in pieces, and never as a mixture of two states."""

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from gateway.admin.routing.downloads import Changed, FileBody
from tests.support.gateway import PATIENCE, Gateway, refusal

PIECE = 64 * 1024


class Place(NamedTuple):
    url: str
    file: Path
    content: bytes


@pytest.fixture
async def place(shared: Gateway, tmp_path: Path) -> AsyncIterator[Place]:
    file, content = tmp_path / "file", os.urandom(3 * PIECE + 5)
    file.write_bytes(content)
    project = await shared.project(tmp_path, f"downloads {tmp_path}".replace("/", "-"))
    yield Place(f"{project}/files/file:download", file, content)
    await shared.delete(project)


async def test_a_file_is_sent_in_small_pieces(tmp_path: Path) -> None:
    """However large it is, a piece of it is in memory at a time."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * PIECE + 1))
    async with FileBody(file.open("rb")) as body:
        assert [len(piece) async for piece in body] == [PIECE, PIECE, 1]
    assert body._file.closed


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
async def test_a_file_that_is_written_to_meanwhile(tmp_path: Path, change: str) -> None:
    """Its last piece is kept back."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * (2 * PIECE))
    os.utime(file, (1, 1))
    async with FileBody(file.open("rb")) as body:
        pieces = aiter(body)
        assert len(await anext(pieces)) == PIECE
        if change == "shorter":
            os.truncate(file, PIECE + 1)
        else:
            with file.open("ab" if change == "longer" else "r+b") as written:
                written.write(b"y")
        with pytest.raises(Changed):
            [piece async for piece in pieces]


async def test_a_range_of_a_file(shared: Gateway, place: Place) -> None:
    """A client that resumes a download asks for a range; the length is that of the part."""
    whole = await shared.admin.get(place.url)
    assert (whole.content, whole.headers["accept-ranges"]) == (place.content, "bytes")
    assert int(whole.headers["content-length"]) == len(place.content)
    for asked, part in (
        ("bytes=0-0", place.content[:1]),
        (f"bytes={PIECE - 1}-{PIECE}", place.content[PIECE - 1 : PIECE + 1]),
        ("bytes=100000-", place.content[100_000:]),
        ("bytes=-7", place.content[-7:]),
        ("bytes=0-99999999", place.content),
    ):
        answer = await shared.admin.get(place.url, headers={"Range": asked})
        assert (answer.status_code, answer.content == part) == (206, True), asked
    beyond = await shared.admin.get(place.url, headers={"Range": "bytes=99999999-"})
    assert refusal(beyond) == (400, "argument.invalid")


async def test_an_empty_file(shared: Gateway, place: Place) -> None:
    """It has a length of 0."""
    place.file.write_bytes(b"")
    answer = await shared.admin.get(place.url)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_client_sees_that_a_file_changed(shared: Gateway, place: Place) -> None:
    """The connection ends before as much has come as was announced."""
    size = 64 * 1024 * 1024
    os.truncate(place.file, size)

    def ask() -> int:
        head = f"GET /api/v2{place.url} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Authorization: {shared.admin.headers['Authorization']}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", shared.port), PATIENCE) as client:
            client.sendall(head.encode())
            told = client.recv(65536)
            assert b"content-length: %d\r\n" % size in told.lower()
            received = len(told.partition(b"\r\n\r\n")[2])
            with place.file.open("r+b") as file:
                file.write(b"changed")
            try:
                while data := client.recv(1 << 20):
                    received += len(data)
            except ConnectionResetError:
                pass
            return received

    received = await trio.to_thread.run_sync(ask)
    assert 0 < received < size
