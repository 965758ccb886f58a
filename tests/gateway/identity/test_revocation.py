"""What is being answered ends with the right to it: every stream, and every way to take a right.

For each way two people have all streams open at once. One loses the right; from the acknowledgement
on nothing that was sent later reaches them, and their connections are reset. The other one's go on.
Logs tell the time with each line. What has an end is large, and its reader slow, so that most of it
is still to be sent.
"""

import re
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trio
import trustme

from gateway.admin.lookup import Lookup
from gateway.admin.route_table import ROUTES
from gateway.client import ApiError, Client
from gateway.errors import API_PREFIX
from gateway.settings import Settings
from gateway.web.csrf import TOKEN_FIELD, form_token
from store import Project, as_text
from tests.support.folders import NewFolder
from tests.support.gateway import (
    PATIENCE,
    Gateway,
    in_a_process,
    refusal,
    running,
    settings_for,
    speaking_to,
    status_is,
    url_in,
)

BULK = 32 * 1024 * 1024
# What a slow reader may still find in its own kernel; the rest was with the gateway's.
IN_HAND = 512 * 1024
TICKS = """\
import time
while True:
    print("tick", time.time(), flush=True)
    time.sleep(0.02)
"""
MODEL = """\
import threading, time
import cdsw

def tick():
    while True:
        print("tick", time.time(), flush=True)
        time.sleep(0.02)

threading.Thread(target=tick, daemon=True).start()

@cdsw.model_metrics
def tell(args):
    cdsw.track_metric("text", "x" * 250_000)
    return {}
"""
# What it tracks is large where it is compared with itself, many times.
KEEP = f"""\
import cdsw
for number in range(60):
    cdsw.track_metric(f"text {{number}}", "x" * 7000)
for number in range(8000):
    cdsw.track_metric(f"value {{number % 20}}", number / 7)
with open("large.bin", "wb") as file:
    file.truncate({BULK})
cdsw.track_file("large.bin")
"""
EVENTS = "Accept: text/event-stream"
TICK = re.compile(rb"tick ([0-9.]+)")
PASSWORD = "correct horse battery"


class Streams(NamedTuple):
    """The gateway, its project, and where each streaming route leads there, by its path."""

    data: Path
    project: str
    paths: dict[str, str]


@pytest.fixture(scope="module")
def streams(new_folder: NewFolder) -> Iterator[Streams]:
    folder = new_folder("revocation")
    with in_a_process(folder / "data"):
        yield trio.run(_prepare, folder)


async def _prepare(folder: Path) -> Streams:
    data, project = folder / "data", folder / "project"
    project.mkdir()
    (project / "model.py").write_text(MODEL)
    (project / "keep.py").write_text(KEEP)
    (project / "ticks.py").write_text(TICKS)
    (project / "forever.sh").write_text("exec python3 ticks.py\n")
    async with speaking_to(url_in(data), data) as gateway:
        path = await gateway.project(project)
        model = await gateway.model(path)
        await gateway.deployed(await gateway.built(model, "model.py:tell"))
        build = await gateway.build(model, "model.py:tell", build_script_path="forever.sh")
        experiments = f"{path}/experiments"
        kept, running = [
            (await gateway.post(experiments, {"script": script}))["id"]
            for script in ("keep.py", "ticks.py")
        ]
        await gateway.until(f"{experiments}/{kept}", status_is("succeeded", "failed"))
        await gateway.until(f"{experiments}/{running}", status_is("running"))
        key = await gateway.key(model)
        for _ in range(40):
            assert (await gateway.call(key, {})).status_code == 200
        with (project / "large.bin").open("wb") as file:
            file.truncate(BULK)
        crn = (await gateway.get(model))["crn"]
    one = "/projects/<project_id>"
    its_experiment, its_model = f"{one}/experiments/<experiment_id>", f"{one}/models/<model_id>"
    return Streams(
        data,
        path,
        {
            f"{its_model}/logs": f"{model}/logs",
            f"{its_model}/builds/<build_id>/log": f"{build}/log",
            f"{one}/experiments:compare": f"{experiments}:compare?ids={','.join([kept] * 20)}",
            f"{its_experiment}/log": f"{experiments}/{running}/log",
            f"{its_experiment}/files/<path:path>": f"{experiments}/{kept}/files/large.bin",
            f"{one}/files/<path:path>": f"{path}/files/large.bin:download",
            "/metrics": f"/metrics?model_crn={crn}&page_size=10000",
            "/metrics/latest": f"/metrics/latest?model_crn={crn}&page_size=10000",
            "/metrics/export": f"/metrics/export?model_crn={crn}",
            "/backup": "/backup",
        },
    )


class Stream:
    """One answer, read by a client that takes little at a time."""

    def __init__(self, stream: trio.SocketStream, path: str) -> None:
        self.path = path
        self.is_log = path.partition("?")[0].endswith(("/log", "/logs"))
        self.received = b""
        self.transport = stream

    async def more(self) -> int:
        """How much came; 0: it has ended as it should. Raises BrokenResourceError."""
        with trio.fail_after(PATIENCE):
            part = await self.transport.receive_some(8192)
        self.received += part
        return len(part)

    async def is_cut(self) -> int:
        """Reads until the connection is reset, which it has to be; gives how much came before."""
        count = 0
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
            while part := await self.more():
                count += part
            raise AssertionError(f"{self.path} came to its end")
        return count

    @property
    def last_tick(self) -> float:
        return max([float(tick) for tick in TICK.findall(self.received)], default=0.0)


async def begun(gateway: Gateway, path: str, credential: str) -> Stream:
    """An answer whose first bytes have come."""
    client = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    await client.connect(("127.0.0.1", gateway.port))
    stream = Stream(trio.SocketStream(client), path)
    lines = [f"GET {API_PREFIX}{path} HTTP/1.1", "Host: localhost", credential]
    if stream.is_log:
        lines.append(EVENTS)
    await stream.transport.send_all("\r\n".join([*lines, "", ""]).encode())
    while b"\r\n\r\n" not in stream.received or (stream.is_log and not stream.last_tick):
        assert await stream.more(), stream.received
    return stream


async def opened(stack: AsyncExitStack, gateway: Gateway, path: str, credential: str) -> Stream:
    """As `begun`. There is one backup at a time: the last one may not have ended yet."""
    with trio.fail_after(PATIENCE):
        while True:
            stream = await begun(gateway, path, credential)
            if b" 409 " not in stream.received[:20]:
                break
            await stream.transport.aclose()
            await trio.sleep(0.01)
    stack.push_async_callback(trio.aclose_forcefully, stream.transport)
    assert stream.received.startswith(b"HTTP/1.1 200"), stream.received[:500]
    return stream


class Person:
    """A user who is to lose a right: `credential` is the header of their requests."""

    def __init__(self, gateway: Gateway, project: str) -> None:
        self.gateway = gateway
        self.project = project
        self.name = f"user-{secrets.token_hex(4)}"
        self.credential = ""
        self.key_id = ""

    async def arrive(self, role: str) -> None:
        user = {"username": self.name, "password": PASSWORD}
        await self.gateway.post("/users", user | {"administrator": role == "administrator"})
        if role == "member":
            answer = await self.gateway.admin.put(
                f"{self.project}/collaborators/{self.name}", json={"permission": "viewer"}
            )
            assert answer.status_code == 200

    async def take_key(self, **asked: object) -> None:
        made = await self.gateway.post(f"/users/{self.name}/v2_keys", asked)
        self.key_id = made["key_id"]
        self.credential = f"Authorization: Bearer {made['api_key']}"

    async def sign_in(self) -> None:
        async with httpx.AsyncClient(base_url=self.gateway.url, timeout=PATIENCE) as client:
            form = {"name": self.name, "password": PASSWORD}
            answer = await client.post("/sign-in", data=form)
            assert answer.status_code == 303, answer.text
            self.session = client.cookies["predictd_session"]
            self.credential = f"Cookie: predictd_session={self.session}"

    async def submit(self, page: str, **form: str) -> None:
        """As their browser, a form of a page."""
        fields = {TOKEN_FIELD: form_token(self.session), **form}
        answer = await self.gateway.models.post(
            page, data=fields, headers={"Cookie": f"predictd_session={self.session}"}
        )
        assert answer.status_code == 303, answer.text

    async def patch(self, path: str, **changes: object) -> None:
        assert (await self.gateway.admin.patch(path, json=changes)).status_code == 200


async def by_key(who: Person) -> None:
    await who.take_key()


async def by_a_key_that_ends_soon(who: Person) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=4)
    await who.take_key(expiry_date=as_text(ends))


async def by_session(who: Person) -> None:
    await who.sign_in()


async def revoke_key(who: Person) -> None:
    await who.gateway.delete(f"/users/{who.name}/v2_keys/{who.key_id}")


async def revoke_all_keys(who: Person) -> None:
    await who.gateway.delete(f"/users/{who.name}/v2_keys")


async def wait_for_its_date(who: Person) -> None:
    # A date holds within the second in which all answers under way are looked at.
    key = next(
        key
        for key in (await who.gateway.get(f"/users/{who.name}/v2_keys"))["v2_keys"]
        if key["key_id"] == who.key_id
    )
    ends = datetime.fromisoformat(key["expiry_date"]).timestamp()
    await trio.sleep(max(0.0, ends - time.time()) + 2.0)


async def disable(who: Person) -> None:
    await who.patch(f"/users/{who.name}", disabled=True)


async def delete_user(who: Person) -> None:
    await who.gateway.delete(f"/users/{who.name}")


async def demote(who: Person) -> None:
    await who.patch(f"/users/{who.name}", administrator=False)


async def sign_out(who: Person) -> None:
    await who.submit("/sign-out")


async def change_password(who: Person) -> None:
    await who.submit("/settings/password", old=PASSWORD, new="another one", again="another one")


async def set_password(who: Person) -> None:
    body = {"password": "another one"}
    answer = await who.gateway.admin.put(f"/users/{who.name}/password", json=body)
    assert answer.status_code == 200


async def take_role(who: Person) -> None:
    await who.gateway.delete(f"{who.project}/collaborators/{who.name}")


async def make_private(who: Person) -> None:
    await who.patch(who.project, visibility="private")


Deed = Callable[[Person], Awaitable[None]]
WAYS: dict[str, tuple[str, Deed, Deed]] = {
    "a key is revoked": ("administrator", by_key, revoke_key),
    "all keys are revoked": ("administrator", by_key, revoke_all_keys),
    "a key expires": ("administrator", by_a_key_that_ends_soon, wait_for_its_date),
    "a user is disabled": ("administrator", by_key, disable),
    "a user with a session is disabled": ("administrator", by_session, disable),
    "a user is deleted": ("administrator", by_key, delete_user),
    "an administrator is none any more": ("administrator", by_key, demote),
    "they sign out": ("administrator", by_session, sign_out),
    "they change their password": ("administrator", by_session, change_password),
    "their password is set": ("administrator", by_session, set_password),
    "a role is taken away": ("member", by_key, take_role),
    "a role is taken from who has a session": ("member", by_session, take_role),
    "a project is made private": ("stranger", by_key, make_private),
}


def test_all_streaming_routes_are_tried(streams: Streams) -> None:
    """A route that streams is in the table above. Sessions have tests of their own; the log of a
    runtime is for site administrators, whose rights no project gives."""
    others = ("/projects/<project_id>/sessions/", "/runtimes/")
    declared = {r.path for r in ROUTES if r.streams and not r.path.startswith(others)}
    assert set(streams.paths) == declared


@pytest.mark.parametrize("way", WAYS)
async def test_streams_end_with_the_right_to_them(streams: Streams, way: str) -> None:
    """Nothing that is sent after the acknowledgement arrives, of any stream, however the right was
    taken; the streams of others go on."""
    role, come, take = WAYS[way]
    async with (
        speaking_to(url_in(streams.data), streams.data) as gateway,
        AsyncExitStack() as stack,
    ):
        victim, other = [Person(gateway, streams.project) for _ in range(2)]
        await victim.arrive(role)
        await other.arrive("member")
        await other.take_key()
        if role == "stranger":
            await victim.patch(streams.project, visibility="public")
        await come(victim)
        wanted = [path for path in streams.paths.values() if path != "/backup"]
        theirs = [await opened(stack, gateway, path, other.credential) for path in wanted]
        if role == "administrator":
            wanted.append("/backup")
        taken = [await opened(stack, gateway, path, victim.credential) for path in wanted]
        await take(victim)
        acknowledged = time.time()
        # Of logs what was printed before may be in the reader's hands, and nothing of later.
        for stream in theirs:
            if stream.is_log:
                while stream.last_tick <= acknowledged:
                    assert await stream.more(), stream.path
        for stream in taken:
            assert await stream.is_cut() < IN_HAND, stream.path
            assert stream.last_tick <= acknowledged, stream.path
        for stream in theirs:
            before = len(stream.received)
            while len(stream.received) < before + 2 * IN_HAND and not stream.is_log:
                assert await stream.more(), stream.path


async def _with_a_key(gateway: Gateway) -> tuple[Person, httpx.AsyncClient]:
    """An administrator, and a client with their key."""
    who = Person(gateway, "")
    await who.arrive("administrator")
    await who.take_key()
    name, _, value = who.credential.partition(": ")
    url = str(gateway.admin.base_url)
    return who, httpx.AsyncClient(base_url=url, headers={name: value}, timeout=PATIENCE)


async def test_an_answer_that_was_not_begun_is_refused(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found while there was a right is not told once there is none."""
    asked, taken = trio.Event(), trio.Event()
    visible = Lookup.visible_projects

    async def slowly(lookup: Lookup) -> list[Project]:
        found = await visible(lookup)
        asked.set()
        await taken.wait()
        return found

    monkeypatch.setattr(Lookup, "visible_projects", slowly)
    who, client = await _with_a_key(gateway)
    answers = []

    async def ask() -> None:
        answers.append(refusal(await client.get("/models")))

    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await asked.wait()
        await revoke_key(who)
        taken.set()
    assert answers == [(401, "auth.required")]


async def test_a_change_whose_body_comes_too_late_is_refused(gateway: Gateway) -> None:
    """A user who loses the right while they still send has changed nothing."""
    who, client = await _with_a_key(gateway)
    half = trio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name": '
        half.set()
        await revoked.wait()
        yield b'"late"}'

    revoked, answers = trio.Event(), []

    async def send() -> None:
        headers = {"Content-Type": "application/json"}
        answers.append(await client.post("/projects", content=body(), headers=headers))

    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await half.wait()
        # The head has come, and what is behind it cannot be before the next one is answered.
        await gateway.get("/whoami")
        await revoke_key(who)
        revoked.set()
    assert refusal(answers[0]) == (401, "auth.required")
    assert (await gateway.get("/projects"))["projects"] == []


async def test_who_revokes_the_key_they_ask_with_is_answered(gateway: Gateway) -> None:
    """An answer to a change tells what was done, also where it took the right to ask."""
    who, client = await _with_a_key(gateway)
    async with client:
        answer = await client.delete(f"/users/{who.name}/v2_keys/{who.key_id}")
        assert answer.status_code == 200
        assert refusal(await client.get("/whoami")) == (401, "auth.required")


async def test_streams_with_tls_end_too(
    certified: Settings, authority: trustme.CA, tmp_path: Path
) -> None:
    """TLS keeps nothing back that would still be sent."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "ticks.py").write_text(TICKS)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    # It listens at an address, and the certificate is for the name.
    trust.check_hostname = False
    async with running(settings_for(tmp_path / "data", certified), trust) as gateway:
        project = await gateway.project(folder)
        made = await gateway.post(f"{project}/experiments", {"script": "ticks.py"})
        who = Person(gateway, project)
        await who.arrive("member")
        await who.take_key()
        name, _, value = who.credential.partition(": ")
        headers = {"Accept": "text/event-stream", name: value}
        path, text, taken = f"{project}/experiments/{made['id']}/log", b"", 0.0
        with trio.fail_after(PATIENCE), pytest.raises(httpx.TransportError):  # noqa: PT012
            async with gateway.admin.stream("GET", path, headers=headers) as response:
                async for part in response.aiter_raw():
                    text += part
                    if TICK.search(part) and not taken:
                        await take_role(who)
                        taken = time.time()
        assert 0 < max(float(tick) for tick in TICK.findall(text)) <= taken


@pytest.mark.parametrize(
    ("take", "code"), [(take_role, "project.notfound"), (revoke_key, "auth.required")]
)
async def test_who_follows_a_log_is_told_why_it_ends(
    streams: Streams, take: Deed, code: str
) -> None:
    """The client, which the command line uses, says what the gateway says of the log now."""
    path = streams.paths["/projects/<project_id>/models/<model_id>/logs"]
    begun = trio.Event()

    def follow() -> None:
        with Client(gateway.url, who.credential.removeprefix("Authorization: Bearer ")) as client:
            for _ in client.events(path):
                trio.from_thread.run_sync(begun.set)

    async def follow_to_its_end() -> None:
        with pytest.raises(ApiError) as refused:
            await trio.to_thread.run_sync(follow)
        assert refused.value.code == code

    async with speaking_to(url_in(streams.data), streams.data) as gateway:
        who = Person(gateway, streams.project)
        await who.arrive("member")
        await who.take_key()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_to_its_end)
            await begun.wait()
            await take(who)
