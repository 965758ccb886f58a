"""The client: one kept connection, nothing sent twice, and errors that say who must act."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.client import ApiError, Client, ModelFailed, ServerSentEvent, ServerUnreachable
from tests.support.fake_admin_api import KEY, REQUEST_ID, State


@pytest.fixture
def client(state: State) -> Iterator[Client]:
    with Client(state.url, KEY) as client:
        yield client


def test_a_listing_is_all_pages(state: State, client: Client) -> None:
    """A caller never sees pages, of any size."""
    state.page_size = 2
    for number in range(5):
        state.project({"name": f"p{number}"})
    names = [each["name"] for each in client.listing("/projects")]
    assert names == ["p0", "p1", "p2", "p3", "p4"]
    assert len(state.requests) == 3


def test_an_empty_listing(state: State, client: Client) -> None:
    """Nothing there is an empty list."""
    assert client.listing("/models") == []


def test_refusals_carry_all_that_the_gateway_said(state: State, client: Client) -> None:
    """Status, code, sentence, advice and request id survive; the connection too."""
    client.post("/projects", {"name": "p"})
    with pytest.raises(ApiError) as caught:
        client.post("/projects", {"name": "p"})
    error = caught.value
    assert (error.status, error.code) == (409, "name.taken")
    assert (error.message, error.request_id) == ("there is a project 'p' already", REQUEST_ID)
    assert client.listing("/projects")[0]["name"] == "p"


def test_an_error_that_is_no_json(state: State, client: Client) -> None:
    """A proxy's error page is an ApiError with the status, not a traceback."""
    with pytest.raises(ApiError, match="502 Bad Gateway") as caught:
        client.get("/broken")
    assert caught.value.code == "http.502"


def test_a_wrong_key(state: State) -> None:
    """The gateway's advice about the key reaches the user."""
    with Client(state.url, "wrong") as client, pytest.raises(ApiError) as caught:
        client.get("/projects")
    assert (caught.value.status, caught.value.code) == (401, "auth.required")


def test_refused_connection_is_unreachable() -> None:
    """A refused connection tells how to start a gateway."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{unused.getsockname()[1]}", KEY) as client:
            with pytest.raises(ServerUnreachable) as caught:
                client.get("/projects")
            assert caught.value.advice == "start one with `predictd serve`"
            assert not client.alive()


def test_gateway_elsewhere_is_not_started_here() -> None:
    """Without an answer from another machine the advice is about its address, not about `serve`."""
    told = pytest.raises(ServerUnreachable, match=r"no machine has the name in http://absent")
    with Client("http://absent.invalid:8080", KEY) as client, told:
        client.get("/projects")


def test_silent_gateway_may_still_do_what_was_asked() -> None:
    """A time-out says how long nothing came, and does not claim that nothing was done."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = pytest.raises(ServerUnreachable, match=r"sent nothing for 0\.1 s")
        with Client(url, KEY, timeout=0.1) as client, told as caught:
            client.delete("/projects/p")
    assert caught.value.advice.startswith("it may still do what was asked")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://h:port", ""])
def test_invalid_address_is_refused(url: str) -> None:
    """A text that is no address is an error at once."""
    with pytest.raises(ServerUnreachable, match="is not the address of a gateway"):
        Client(url, KEY)


def answer_once(listener: socket.socket) -> bytes:
    """Answers one request, whose body is `{}`, and closes the connection without saying so."""
    connection, _ = listener.accept()
    received = b""
    with connection:
        while not received.endswith(b"{}"):
            received += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    return received


def test_a_connection_closed_meanwhile() -> None:
    """An idle connection that the server closed costs a new connection, not a request."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        ThreadPoolExecutor() as threads,
        Client(f"http://127.0.0.1:{listener.getsockname()[1]}", KEY) as client,
    ):
        for _ in range(3):
            served = threads.submit(answer_once, listener)
            client.post("/projects", {})
            assert served.result().startswith(b"POST /api/v2/projects")


def test_events(state: State, client: Client) -> None:
    """Events come decoded, comments are passed over, and other requests can go on meanwhile."""
    events = client.events("/projects/p/models/m/logs", tail=5)
    first = next(events)
    assert first.name == "line"
    assert first.data["text"] == "Model ready"
    assert client.listing("/projects") == []
    assert [each.data["text"] for each in events] == ["a warning"]
    assert state.requests[0].endswith("?tail=5")


def test_events_refused(state: State, client: Client) -> None:
    """A stream that cannot be had is refused like any request."""
    with pytest.raises(ApiError):
        list(client.events("/nothing"))
    assert isinstance(ServerSentEvent("line", 1), tuple)


def test_upload(state: State, client: Client) -> None:
    """Each file is a part whose field name is its path, and no name can forge a part."""
    client.upload("/projects/p/files", {"code/a.py": b"x = 1\r\n", 'b"\r\nc': b"\x00"})
    [(kind, body)] = state.uploads.items()
    boundary = kind.partition("boundary=")[2].encode()
    _, first, second, end = body.split(b"--" + boundary)
    assert b'name="code/a.py"; filename="a.py"' in first
    assert first.endswith(b"\r\n\r\nx = 1\r\n\r\n")
    assert b'name="b%22%0D%0Ac"' in second
    assert end == b"--\r\n"


def deployed(state: State, function: str) -> str:
    project = state.project({"name": function})
    model = state.model(project, {"name": function})
    build = state.build(model, {"file_path": "m.py", "function_name": function})
    state.finish_build(build)
    deployment = state.deployment(model, build, {"replicas": 1, "environment": {}})
    for _ in range(2):
        state.look_at(deployment)
    return str(model["access_key"])


def test_client_call(state: State, client: Client) -> None:
    """An answer is the whole reply; a model that fails and a key that is wrong differ."""
    assert client.call(deployed(state, "add"), {"a": 3, "b": 5})["response"] == 8
    with pytest.raises(ModelFailed, match="unexpected model shutdown: ValueError: no"):
        client.call(deployed(state, "fail"), None)
    with pytest.raises(ApiError) as caught:
        client.call("munknown", None)
    assert (type(caught.value), caught.value.code) == (ApiError, "model.accesskey")


def test_call_retries_for_its_patience(state: State, client: Client) -> None:
    """A busy model is called again after `Retry-After`, within the patience; without it the error
    has the time."""
    key = deployed(state, "add")
    state.busy = 3
    for patience in (0.0, 0.9):
        with pytest.raises(ApiError) as caught:
            client.call(key, {"a": 1, "b": 2}, patience=patience)
        assert (caught.value.code, caught.value.retry_after) == ("model.busy", 1.0)
    began = time.monotonic()
    assert client.call(key, {"a": 1, "b": 2}, patience=30.0)["response"] == 3
    assert time.monotonic() - began >= 1
    assert state.busy == 0


def test_client_text(state: State, client: Client, tmp_path: Path) -> None:
    """A text comes as it is: a log as one JSON object a line."""
    lines = map(json.loads, client.text("/projects/p/models/m/logs").splitlines())
    told = [f"{each['at']} {each['stream']} {each['text']}" for each in lines]
    assert told == state.log_lines
