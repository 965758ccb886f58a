"""Text that is no UTF-8, or that no name can have, is refused by name wherever it comes."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes

import msgspec
import pytest
import trio

from gateway.admin import file_operations
from gateway.admin.route_table import ROUTES
from gateway.admin.routing.route import AdminRoute
from gateway.errors import API_PREFIX, Refusal
from tests.faults.matrix import fault
from tests.support.gateway import Gateway, copy_of, refusal

# As they stand within a JSON text.
ODD = {
    "half a surrogate pair": rb"\ud800x",
    "a NUL": rb"a\u0000b",
    "Latin-1": b"caf\xe9",
    "long, with controls": rb"a\u000a\u001b[31m" + "\u202e".encode() + b"x" * 5000,
}
# What makes a body that is taken: all but the odd field is in order.
GOOD = {
    "name": b'"n%d"',
    "username": b'"u%d"',
    "password": b'"correct horse battery"',
    "file_path": b'"add.py"',
    "function_name": b'"add"',
    "kind": b'"function"',
    "script": b'"add.py"',
    "permission": b'"viewer"',
    "path": b'"add.py"',
    "text": b'"x"',
    "to": b'"moved/n%d"',
    "prediction_uuid": b'"%d"',
    "metrics": b'{"a": 1}',
    "model_deployment_crn": b'"crn"',
}
METRICS = ("model_deployment_crn", "model_crn", "start_timestamp_ms", "page_token", "format")
HEADERS = ("Authorization", "X-Request-Id", "Cookie", "Accept", "Range", "If-None-Match", "Host")
FORM = "multipart/form-data; boundary=x"
_count = itertools.count()
_ESCAPE = re.compile(rb"\\u([0-9a-f]{4})")


class Ids(NamedTuple):
    """One of each noun."""

    project_id: str
    model_id: str
    build_id: str
    experiment_id: str
    username: str = "admin"
    collaborator: str = "admin"


def as_bytes(odd: bytes) -> bytes:
    """What a client sends in an address that means this."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)).encode("utf-8", "surrogatepass"), odd)


def path_of(route: AdminRoute, ids: Ids, **odd: str) -> str:
    values = {**ids._asdict(), **odd}
    path = re.sub(r"{(\w+)}", lambda m: values.get(m[1], "1"), route.openapi_path)
    return path.removeprefix(API_PREFIX)


def bodies(kind: type[msgspec.Struct], odd: bytes) -> Iterator[bytes]:
    """Bodies with the text as a whole, as a name, and as or within each field's value."""
    value, known = b'"%b"' % odd, msgspec.structs.fields(kind)

    def body(**more: bytes) -> bytes:
        good = {
            each.encode_name: GOOD[each.encode_name].replace(b"%d", b"%d" % next(_count))
            for each in known
            if each.required
        }
        parts = (b'"%b": %b' % (n.encode(), v) for n, v in {**good, **more}.items())
        return b"{%b}" % b", ".join(parts)

    yield value
    yield body()[:-1] + b", %b: 1}" % value
    for each in known:
        if not re.search("str|dict|list|Raw|shapes", str(each.type)):
            continue  # a number or a word, which a text is not
        yield body(**{each.encode_name: value})
        if re.search("dict|list|Raw|shapes", str(each.type)):
            for shape in (b"[%b]", b'{"a": %b}', b'{%b: "a"}'):
                yield body(**{each.encode_name: shape.replace(b"%b", value)})


class Asking:
    """Asks, and takes down what was answered."""

    def __init__(self, gateway: Gateway) -> None:
        self.statuses = Counter[int]()
        self.wrong: list[str] = []
        self._admin = gateway.admin

    async def ask(self, method: str, path: str, **more: Any) -> None:
        request = self._admin.build_request(method, path, **more)
        answer = await self._admin.send(request, stream=True)
        try:
            status = answer.status_code
            self.statuses[status] += 1
            if status >= 400:
                await answer.aread()
                if status >= 500 and refusal(answer)[1] != "project.busy":
                    self.wrong.append(f"{method} {path} {more}: {status} {answer.text[:300]}")
        finally:
            await answer.aclose()

    async def ask_route(self, route: AdminRoute, ids: Ids, odd: bytes) -> None:
        sent = quote_from_bytes(as_bytes(odd), safe="")
        for name in re.findall(r"{(\w+)}", route.openapi_path):
            await self.ask(route.method, path_of(route, ids, **{name: sent}))
        if route.method == "DELETE":
            return  # of what is needed yet
        path = path_of(route, ids)
        for name in (*route.query, *(METRICS if "/metrics" in path else ()), sent):
            await self.ask(route.method, f"{path}?{name}={sent}")
        if route.body is not None and issubclass(route.body, msgspec.Struct):
            for body in bodies(route.body, odd):
                headers = {"content-type": "application/json"}
                await self.ask(route.method, path, content=body, headers=headers)

    async def ask_in_heads(self, project: str, odd: bytes) -> None:
        raw = as_bytes(odd).translate(None, b"\0\r\n")
        for header in HEADERS:
            await self.ask("GET", f"{project}/files", headers={header.encode(): b"x" + raw})
        await self.ask("POST", "/projects", content=b"{}", headers={b"content-type": raw})
        for form in (form_of(raw, b"f"), form_of(b"f", raw)):
            await self.ask("PUT", f"{project}/files", content=form, headers={"content-type": FORM})


def form_of(name: bytes, filename: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="%b"; filename="%b"' % (name, filename)
    return b"--x\r\n" + head + b"\r\n\r\ncontent\r\n--x--\r\n"


@fault(
    "text that is no UTF-8 for the admin API",
    injection=(
        "half surrogate pairs, NULs, Latin-1, controls in each path, query, header, body, form"
    ),
    bound="taken or refused as the caller's fault, never a 500",
)
async def test_no_odd_text_is_our_mistake(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a text may be given to the admin API (path, query, header, body, form), an odd one
    is taken, or refused as the caller's fault; it is never a mistake of ours."""

    async def forever(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("builder.make_build", forever)
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(project)
    build = await gateway.build(model, "add.py:add")
    run = (await gateway.post(f"{project}/experiments", {"script": "add.py"}))["id"]
    project_id, model_id, build_id = (p.rpartition("/")[2] for p in (project, model, build))
    ids = Ids(project_id, model_id, build_id, run)
    asking = Asking(gateway)
    for odd in ODD.values():
        for route in ROUTES:
            await asking.ask_route(route, ids, odd)
        await asking.ask_in_heads(project, odd)
    assert not asking.wrong, "\n".join(asking.wrong)
    assert asking.statuses[200] > 200, "most were not in order but for the odd text"


@fault(
    "file names that are no UTF-8",
    injection="files, folders and links",
    bound="listed, read and deleted",
)
async def test_names_of_files_that_are_no_text(gateway: Gateway, tmp_path: Path) -> None:
    """A file whose name is no UTF-8 is listed, read and deleted by a name in which such bytes are
    spelled out. None of such a name is uploaded."""
    folder = copy_of("add", tmp_path)
    inner = os.fsencode(folder) + b"/d\xe9"
    os.mkdir(inner)
    with open(inner + b"/caf\xe9", "wb") as file:
        file.write(b"content")
    os.symlink(b"d\xe9", os.fsencode(folder) + b"/link\xe9")
    project = await gateway.project(folder)
    listed = (await gateway.get(f"{project}/files"))["files"]
    assert {r"d\xe9", r"link\xe9"} <= {each["path"] for each in listed}
    assert [each["path"] for each in (await gateway.get(rf"{project}/files/d\xe9"))["files"]] == [
        r"d\xe9/caf\xe9"
    ]
    path = rf"{project}/files/d\xe9/caf\xe9"
    assert (await gateway.admin.get(f"{path}:download")).content == b"content"
    await gateway.delete(path)
    assert os.listdir(inner) == []
    await gateway.delete(rf"{project}/files/d\xe9")
    assert not os.path.exists(inner)
    form = form_of(b"caf\xe9", b"f")
    headers = {"content-type": FORM}
    answer = await gateway.admin.put(f"{project}/files", content=form, headers=headers)
    assert refusal(answer)[0] == 400, answer.text
    answer = await gateway.admin.delete(f"{project}/files/caf%E9")
    assert refusal(answer) == (400, "path.refused")
    assert "not UTF-8" in answer.text


def test_what_lies_too_deep(tmp_path: Path) -> None:
    """A path with too many folders is refused by name. Folders that are there, as deep as may be,
    are removed; a folder with too many files is refused, not held in memory."""
    with pytest.raises(Refusal, match="levels"):
        file_operations.names_of("d/" * 300 + "x")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    file_operations.remove(tmp_path, "d")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than a list may have are refused, in one folder or in all together."""
    monkeypatch.setattr(file_operations, "MOST_LISTED", 5)
    for number in range(6):
        (tmp_path / "in" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{number % 2}" / f"{number}").touch()
    assert len(file_operations.listing(tmp_path, "in")) == 2
    with pytest.raises(Refusal, match="more than 5 files"):
        file_operations.all_files(tmp_path)
    for number in range(4):
        (tmp_path / "in" / f"more{number}").touch()
    with pytest.raises(Refusal, match="more than 5 files"):
        file_operations.listing(tmp_path, "in")
