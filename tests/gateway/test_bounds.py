"""Every decoder has a bound where it is declared: what is above it is refused before it is read."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.datastructures import MultiDict

from gateway.admin.route_table import ROUTES
from gateway.admin.routing.json_body import FREE_BYTES
from gateway.admin.routing.manifest_uploads import ManifestUpload
from gateway.admin.routing.route import SMALL_BODY, AdminRoute
from gateway.admin.routing.uploads import MOST_PARTS
from gateway.errors import API_PREFIX
from gateway.http.request_head import PARTS_LIMIT
from gateway.settings import SETTINGS, Settings
from gateway.upload_manifest import MEDIA_TYPE, MOST_BYTES
from gateway.web.forms import FORM_LIMIT
from gateway.web.site import PAGES
from tests.gateway.conftest import Samples
from tests.support.folders import NewFolder
from tests.support.gateway import PATIENCE, Json, url_in

FORMS = [page for page in PAGES if page.method == "POST"]


class Stage:
    """A gateway with a project; what is asked for here never comes as far as changing it."""

    def __init__(self, samples: Samples, folder: Path) -> None:
        url = url_in(samples.data)
        self.headers = {
            "Authorization": f"Bearer {(samples.data / 'admin.key').read_text().strip()}"
        }
        self.address = ("127.0.0.1", int(url.rpartition(":")[2]))
        self.admin = httpx.Client(base_url=url, headers=self.headers, timeout=PATIENCE)
        self.folder = folder
        linked = {"name": "bounds", "template": "local", "path": str(folder)}
        self.project = self.admin.post(f"{API_PREFIX}/projects", json=linked).json()["id"]

    def path(self, route: AdminRoute) -> str:
        there = {"project_id": self.project}
        path = re.sub(r"<(?:path:)?(\w+)>", lambda found: there.get(found[1], "none"), route.path)
        return API_PREFIX + path

    def announces(self, method: str, path: str, length: int, media: str) -> tuple[int, Json]:
        """The answer to a head that announces a body, of which not a byte is sent."""
        head = {"Host": "localhost", "Content-Type": media, "Content-Length": str(length)}
        lines = [f"{k}: {v}" for k, v in (head | self.headers).items()]
        request = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()
        with socket.create_connection(self.address, PATIENCE) as client:
            client.sendall(request)
            return told_by(client)


def told_by(client: socket.socket) -> tuple[int, Json]:
    """Status and body of what comes until the close: an answer before the body ends it."""
    told = b""
    while piece := client.recv(65536):
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else {}


@pytest.fixture(scope="module")
def stage(samples: Samples, new_folder: NewFolder) -> Iterator[Stage]:
    stage = Stage(samples, new_folder("project"))
    yield stage
    stage.admin.delete(f"{API_PREFIX}/projects/{stage.project}")
    stage.admin.close()


def test_each_route_declares_how_large_a_body_may_be() -> None:
    """What is decoded on the loop is small; only uploads, which go to a file, are large."""
    for route in ROUTES:
        if isinstance(route.max_body, str):
            assert route.body in (MultiDict, ManifestUpload), route.path
            assert SETTINGS[route.max_body].kind.is_size, route.path
        elif route.body is ManifestUpload:  # it is read as a stream, and decoded in a thread
            assert route.max_body == MOST_BYTES, route.path
        else:
            assert 0 < route.max_body <= FREE_BYTES, route.path


@pytest.mark.parametrize("route", ROUTES, ids=lambda each: f"{each.method} {each.path}")
def test_a_body_above_its_routes_bound_is_refused_unread(stage: Stage, route: AdminRoute) -> None:
    """One byte more is 413, before any byte of the body is there."""
    most = route.max_body
    if isinstance(most, str):
        most = getattr(Settings(), most)
    media = "multipart/form-data; boundary=x" if route.body is MultiDict else "application/json"
    if route.body is ManifestUpload:
        media = MEDIA_TYPE
    status, told = stage.announces(route.method, stage.path(route), most + 1, media)
    assert (status, told["details"][0]["code"]) == (413, "request.toolarge")
    assert f"larger than {most} bytes" in told["message"]


@pytest.mark.parametrize("path", [page.path for page in FORMS])
def test_a_form_above_its_bound_is_refused_unread(stage: Stage, path: str) -> None:
    """The same is true of the forms of our pages that are read without a session."""
    media = "application/x-www-form-urlencoded"
    status, _ = stage.announces("POST", path, FORM_LIMIT + 1, media)
    # Who is not signed in is led to where that is done, unread as well.
    assert status in (413, 303, 403)


@pytest.mark.parametrize("size", [SMALL_BODY, SMALL_BODY + 1])
def test_the_bound_holds_for_a_body_in_chunks(stage: Stage, size: int) -> None:
    """A body that is not announced is refused as soon as it is larger than it may be."""

    def pieces() -> Iterator[bytes]:
        body = b'{"name":""}'.ljust(size)
        yield from (body[at : at + 50_000] for at in range(0, size, 50_000))

    answer = stage.admin.post(f"{API_PREFIX}/projects", content=pieces())
    code: Any = answer.json()["details"][0]["code"]
    expected = "request.toolarge" if size > SMALL_BODY else "argument.invalid"
    assert code == expected


@pytest.mark.parametrize(
    ("name", "separator"),
    [("query", "&"), ("Cookie", ";"), ("Accept", ","), ("Accept", ";"), ("Content-Type", ";")],
)
@pytest.mark.parametrize("path", ["/model", "/livez"])
def test_the_parts_of_a_head_are_few(stage: Stage, path: str, name: str, separator: str) -> None:
    """A query, and headers that are taken apart, have so many parts at most: each costs time."""
    for parts, refused in ((PARTS_LIMIT, False), (PARTS_LIMIT + 1, True)):
        text = separator.join(["a=1"] * parts)
        head = {name: text} if name != "query" else {}
        target = f"{path}?{text}" if name == "query" else path
        answer = stage.admin.get(target, headers=head)
        assert (answer.status_code == 431) == refused, answer.text


def test_a_page_ends_early_where_its_items_are_large(stage: Stage) -> None:
    """The JSON that is encoded at once is bounded for every page size, and the next page continues
    where this one ended."""
    listed = f"{API_PREFIX}/projects"
    names = [f"large {number}" for number in range(12)]
    made = []
    for name in names:
        asked = {"name": name, "description": "x" * 60_000, "template": "blank"}
        made.append(stage.admin.post(listed, json=asked).json()["id"])
    try:
        found: list[str] = []
        token, pages = "", 0
        while token or not pages:
            query = {"page_size": "100", "page_token": token, "sort": "name"}
            answer = stage.admin.get(listed, params=query)
            assert len(answer.content) < 600_000
            found += [each["name"] for each in answer.json()["projects"]]
            token, pages = answer.json()["next_page_token"], pages + 1
        assert [name for name in found if name.startswith("large")] == sorted(names)
        assert pages > 1
    finally:
        for identifier in made:
            stage.admin.delete(f"{listed}/{identifier}")


@pytest.mark.parametrize(
    "query", [{"search_filter": '{"a":"%s"}' % ("x" * 1000)}, {"sort": "x" * 101}]
)
def test_what_lists_are_asked_for_is_short(stage: Stage, query: dict[str, str]) -> None:
    """A filter is tried on each item of a list, a key of sorting looked up in each."""
    answer = stage.admin.get(f"{API_PREFIX}/projects", params=query)
    assert (answer.status_code, answer.json()["details"][0]["code"]) == (400, "argument.invalid")


BOUNDARY = b"XBOUNDARY"
PART = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\n\r\n'
END = b"\r\n--%b--\r\n" % BOUNDARY


def put(stage: Stage, *pieces: bytes, media: str = "") -> tuple[int, str]:
    """Uploads a form, in chunks; status and code."""
    answer = stage.admin.put(
        f"{API_PREFIX}/projects/{stage.project}/files",
        content=iter(pieces),
        headers={"Content-Type": media or f"multipart/form-data; boundary={BOUNDARY.decode()}"},
    )
    return answer.status_code, "" if answer.is_success else answer.json()["details"][0]["code"]


def test_what_is_no_form_of_files(stage: Stage) -> None:
    """Each is refused, and none is gathered in memory."""
    part = PART % (BOUNDARY, b"a")
    for pieces, code in (
        ([b"x" * 50_000] * 4, "argument.invalid"),  # no boundary comes
        ([b"--%b\r\n" % BOUNDARY, *[b"a: b\r\n" * 10_000] * 2], "argument.invalid"),
        ([part, b"content"], "argument.invalid"),  # no end
        ([part, b"content", END[:-6]], "argument.invalid"),
        (
            [(PART % (BOUNDARY, b"%d" % n)) + b"x\r\n" for n in range(MOST_PARTS + 1)],
            "request.toolarge",
        ),
        ([b"--%b--\r\n" % BOUNDARY], "argument.invalid"),  # no files
    ):
        assert put(stage, *pieces)[1] == code
    assert put(stage, b"{}", media="application/json") == (415, "request.media")
    assert put(stage, b"x", media="multipart/form-data") == (415, "request.media")


def test_near_boundaries_are_content(stage: Stage) -> None:
    """What only looks like a boundary is part of its file, wherever it is cut."""
    content = (b"\r\n--XBOUND" * 3 + b"\r\n--XBOUNDARY.\r" + b".--XBOUNDARY\r\n") * 3000
    body = PART % (BOUNDARY, b"near") + content + END
    pieces = [body[at : at + 9_973] for at in range(0, len(body), 9_973)]
    assert put(stage, *pieces) == (200, "")
    assert (stage.folder / "near").read_bytes() == content


def test_an_upload_in_chunks_has_a_bound(samples: Samples, stage: Stage) -> None:
    """What is not announced is counted as it comes; nothing of it stays."""
    settings = f"{API_PREFIX}/site/settings"
    stage.admin.patch(settings, json={"max_upload_size": 300_000}).raise_for_status()
    try:
        part = PART % (BOUNDARY, b"large")
        assert put(stage, part, *[b"x" * 50_000] * 5, END) == (200, "")
        assert put(stage, part, *[b"x" * 50_000] * 7, END) == (413, "request.toolarge")
    finally:
        stage.admin.delete(f"{settings}/max_upload_size").raise_for_status()
    assert (stage.folder / "large").stat().st_size == 250_000
    assert not list((samples.data / "spool").iterdir())
