"""The access log: one line for each response of either server, and no harm from a bad disk."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from gateway.http.access_log import AccessLog, AccessRecord, line, open_access_log, writing
from gateway.http.request_head import RequestHead, parse_head
from gateway.settings import SettingsError
from tests.support.gateway import running, settings_for
from tests.support.http_stage import Stage, post, request

LINE = re.compile(
    r'(?P<address>\S+) - - \[(?P<when>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "(?P<asked>.*)" '
    r"(?P<status>\d{3}|-) (?P<size>\d+|-) (?P<micros>\d+) (?P<id>\S+)"
)
CALL = parse_head(b"POST /model?accessKey=secret HTTP/1.1\r\nHost: x\r\n\r\n")


INTERVAL = 0.01


class HangingLog(AccessLog):
    """Its disk never returns from a write."""

    def __init__(self, path: str) -> None:
        super().__init__(path, last_seconds=0.1)
        self._reading, self._writing = os.pipe()

    def release(self) -> None:
        os.close(self._writing)

    def _append(self, data: bytes) -> tuple[int, str]:
        os.read(self._reading, 1)
        os.close(self._reading)
        return 0, ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def note(log: AccessLog, number: int = 1, head: RequestHead | None = CALL) -> None:
    log.add("10.0.0.1", head, 200, 12, 0.000345, f"{number}")


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a log, each in its parts."""
    matches = [LINE.fullmatch(each) for each in path.read_text("ascii").splitlines()]
    assert None not in matches
    return [match.groupdict() for match in matches if match]


async def written(path: Path, many: int) -> None:
    with trio.fail_after(10):
        while not path.exists() or path.read_bytes().count(b"\n") < many:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_line_is_common_log_format(path: Path) -> None:
    """Address, time, request without its query, status, size, microseconds, id."""
    async with open_access_log(str(path)) as log:
        assert log is not None
        note(log)
        note(log, 2, None)
    first, second = read(path)
    when = first.pop("when")
    assert abs(time.mktime(time.strptime(when[:-6], "%d/%b/%Y:%H:%M:%S")) - time.time()) < 60
    assert first == {
        "address": "10.0.0.1",
        "asked": "POST /model HTTP/1.1",
        "status": "200",
        "size": "12",
        "micros": "345",
        "id": "1",
    }
    assert second["asked"] == "-"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("odd", ['"', "\\", "\n", "\r", "\0", "\x1b[2J", "\x7f", "ä", "\u2028"])
def test_line_escapes_odd_bytes(odd: str) -> None:
    """A request is one line with the quotes of the log, independent of its bytes."""
    logged = line(AccessRecord(0.0, "::1", "GET", f"/a{odd}b", 1, 404, 0, 0.0, "id"))
    assert logged.isascii()
    assert logged.removesuffix("\n").isprintable()
    match = LINE.fullmatch(logged.removesuffix("\n"))
    assert match is not None
    assert re.fullmatch(r"GET /a(\\x[0-9a-f]{2}|\[2J)+b HTTP/1.1", match["asked"])


async def test_moved_log_is_created_again(path: Path) -> None:
    """After a rotation the lines go into a new file; none is lost."""
    async with writing(AccessLog(str(path), interval=INTERVAL)) as log:
        note(log, 1)
        await written(path, 1)
        path.rename(path.with_suffix(".1"))
        note(log, 2)
        await written(path, 1)
    assert [each["id"] for each in read(path.with_suffix(".1")) + read(path)] == ["1", "2"]


async def test_reopened_log_loses_no_line(path: Path) -> None:
    """`reopen` opens the same file again; no line is lost."""
    async with writing(AccessLog(str(path), interval=INTERVAL)) as log:
        note(log, 1)
        await written(path, 1)
        before = log._file
        log.reopen()
        note(log, 2)
        await written(path, 2)
        assert log._file != before
    assert [each["id"] for each in read(path)] == ["1", "2"]


async def test_full_disk_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Lines that the disk does not take are missing; the gateway's log reports it once, with their
    number."""
    async with writing(AccessLog("/dev/full", interval=INTERVAL)) as log:
        for number in range(3):
            note(log, number)
        with trio.fail_after(10):
            while "No space left" not in caplog.text:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert caplog.text.count("access_log.write_failed") == 1
    assert "access_log.incomplete" in caplog.text


def test_half_a_line_is_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write of half a line, the next line begins on its own."""
    log = AccessLog(str(path))
    real, free = os.write, [7, 0]

    def write(file: int, data: bytes) -> int:
        if not free:
            return real(file, data)
        if size := free.pop(0):
            return real(file, data[:size])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    assert log._append(b"first\nsecond\nthird\n") == (2, "No space left on device")
    assert log._append(b"fourth\n") == (0, "")
    assert path.read_bytes() == b"first\ns\nfourth\n"


async def test_records_beyond_the_capacity_are_dropped(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records that come faster than they are written are dropped beyond a bound, and counted."""
    async with writing(AccessLog(str(path), capacity=5)) as log:
        for number in range(8):
            note(log, number)
    assert len(read(path)) == 5
    assert "access_log.incomplete" in caplog.text


async def test_hanging_disk_does_not_delay_the_end(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that never returns does not delay the end."""
    hanging = HangingLog(str(path))
    with trio.fail_after(10):
        async with writing(hanging) as log:
            note(log)
    hanging.release()
    assert "access_log.truncated" in caplog.text


async def test_unusable_path_is_a_settings_error(tmp_path: Path) -> None:
    """A log that cannot be opened is refused at the start."""
    for wrong in (tmp_path, tmp_path / "missing" / "access.log"):
        with pytest.raises(SettingsError, match="cannot open access_log"):
            AccessLog(str(wrong))


async def test_both_servers_log(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each response of either server has one line, with the id that the client got."""
    settings = settings_for(tmp_path / "data", access_log=str(path))
    async with running(settings) as gateway:
        answers = [
            await gateway.call("wrong", 1),
            await gateway.models.get("/livez"),
            await gateway.models.post("/model?accessKey=secret", content=b"{}"),
            await gateway.models.head("/livez"),
            await gateway.admin.get("/site", headers={"Connection": "close"}),
        ]
        for bad in (b"POST /model HTTP/1.1\nx", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET\n"):
            async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
                await stream.send_all(bad)
                while b" 400 " not in await stream.receive_some():
                    pass
    lines = read(path)
    assert [each["asked"] for each in lines] == [
        "POST /model HTTP/1.1",
        "GET /livez HTTP/1.1",
        "POST /model HTTP/1.1",
        "HEAD /livez HTTP/1.1",
        "GET /api/v2/site HTTP/1.1",
        "-",
        "GET /livez HTTP/1.1",
        "-",
    ]
    for logged, answer in zip(lines, answers, strict=False):
        assert logged["address"] == "127.0.0.1"
        assert logged["status"] == str(answer.status_code)
        assert logged["id"] == answer.headers["x-request-id"]
        assert logged["size"] == str(len(answer.content))
    assert [each["status"] for each in lines[-3:]] == ["400", "200", "400"]
    assert "secret" not in path.read_text()


@pytest.fixture
def staged(path: Path) -> Iterator[Stage]:
    stage = Stage()
    log = stage.context.access_log = AccessLog(str(path))
    yield stage
    os.close(log._file)


def test_what_a_model_connection_logs(staged: Stage) -> None:
    """The time is that of the ticket. A request that was refused before it was whole has no time,
    and is named if its head was read."""
    log = staged.context.access_log
    assert log is not None
    client = staged.client().send(post())
    staged.pass_time(0.5)
    staged.pool.answer()
    client.send(request("POST", "/model", "Transfer-Encoding: chunked"), b"no\r\n")
    staged.client().send(b"POST /model HTTP/1.1\r\n")
    staged.pass_time(20)
    logged = [(each.method, each.status, each.seconds) for each in log._records]
    assert logged == [("POST", 200, 0.5), ("POST", 400, 0.0), ("", 408, 0.0)]
