"""The largest legal input to each decoder: no other request waits for it to be read.

The tests assert that no turn of the loop takes long, in CPU time of its thread. That does not
depend on what else the machine does, as the time that a client waits for an answer would.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.bench import ECHO, Peak
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    at,
    copy,
    write,
)
from workers.replica import wire

HERE = Path(__file__).parent
MB, KIB = 1_000_000, 1024
# The longest turn, in milliseconds of CPU time: 2 to 8 were measured. Memory for an answer of 30 MB
# is asked for at once, which alone takes 2 to 18.
LONGEST, LONGEST_FOR_ANSWERS = 15.0, 30.0
RATE = 200
TRACKS = """
import cdsw
for number in range(11_000):
    cdsw.track_metric(f"key {number % 1000}", number)
"""


class Stage:
    """A gateway whose turns are noted, with a hostile model and another user's."""

    def __init__(self, root: Path) -> None:
        self.quiet: dict[str, float] = {}
        self.turns = root / "turns"
        self.turns.touch()
        self.gateway = Gateway(root / "data")
        self.gateway.wrapper = [sys.executable, str(HERE / "turns.py"), str(self.turns)]
        self.folder = write(root / "project", {"tracks.py": TRACKS})

    def open(self, root: Path) -> None:
        self.other = self.gateway.serve(write(root / "other", {"echo.py": ECHO}), "echo.py", "echo")
        hostile = copy("hostile", root / "hostile")
        self.hostile = self.gateway.serve(hostile, "hostile.py", "behave")
        self.project = f"/projects/{self.gateway.project(self.folder)['id']}"
        headers = {"Authorization": f"Bearer {self.gateway.key}"}
        self.admin = httpx.Client(
            base_url=f"{self.gateway.url}/api/v2", headers=headers, timeout=60
        )

    def do(self, deed: str, **more: object) -> int:
        return self.gateway.call(self.hostile, {"do": deed, **more}).status

    @contextmanager
    def called(self) -> Iterator[dict[str, float]]:
        """The other model is called meanwhile; afterwards, how long that took."""
        address = urlsplit(self.gateway.url)
        given = [address.hostname, address.port, self.other["access_key"], RATE]
        command = [sys.executable, str(HERE / "steady.py"), *map(str, given)]
        pipe = subprocess.PIPE
        figures: dict[str, float] = {}
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
                yield figures
            finally:
                told, _ = process.communicate("\n", timeout=30)
        figures.update(json.loads(told.splitlines()[-1]))


@pytest.fixture(scope="module")
def stage(new_folder: NewFolder) -> Iterator[Stage]:
    root = new_folder("stalls")
    stage = Stage(root)
    with stage.gateway:
        stage.open(root)
        with stage.called() as stage.quiet:
            time.sleep(2)
        yield stage
        stage.admin.close()


def nested(size: int) -> str:
    """The JSON of this size that takes a decoder longest."""
    return "[" + "[[[[[[[[]]]]]]]]," * (size // 17 - 1) + "0]"


def keys(size: int, value: str = "0") -> str:
    return ",".join(f'"{number:x}":{value}' for number in range(size // (8 + len(value))))


def bodies(stage: Stage) -> None:
    """JSON bodies of routes, as large as they may be."""
    model, build = at(stage.hostile), '"file_path":"no","function_name":"f"'
    for path, body in (
        (f"{model}/builds", f'{{"kernel":"none",{build},"example":{nested(250 * KIB)}}}'),
        ("/projects", f'{{"name":"x","environment":{{{keys(63 * KIB, chr(34) * 2)}}}}}'),
        ("/projects", f'{{"name":"","description":null,{keys(120 * KIB)}}}'),
        ("/metrics/delayed", f'{{"prediction_uuid":"x","metrics":{{{keys(63 * KIB)}}}}}'),
        ("/metrics/delayed", f'{{"prediction_uuid":"x","metrics":{{"a":{nested(63 * KIB)}}}}}'),
    ):
        json.loads(body)  # it is legal
        answer = stage.admin.post(path, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, answer.text


def heads(stage: Stage) -> None:
    """Queries, cookies and filters."""
    query = "&".join(f"k{number}=%41%42%43%44%45%46%47%48" for number in range(200))
    cookie = ";".join(f"c{number}=v" for number in range(200))
    url = f"{stage.gateway.url}/model?{query}"
    assert stage.admin.post(url, headers={"Cookie": cookie}).status_code in (400, 401)
    assert stage.admin.get(f"/projects?{query}", headers={"Cookie": cookie}).status_code == 200
    # Ten fields, and 1,000 characters together.
    wanted = json.dumps({f"name{number}": "x" * 80 for number in range(10)})
    assert stage.admin.get("/audit", params={"page_size": "1000"}).status_code == 200
    answer = stage.admin.get("/projects", params={"search_filter": wanted, "page_size": "1000"})
    assert answer.status_code == 200


def requests(stage: Stage) -> None:
    """Requests and answers of models."""
    for size in (250 * KIB, 5 * MB):
        text = nested(size)
        body = (
            f'{{"accessKey":"{stage.hostile["access_key"]}","request":{{"do":"echo","x":{text}}}}}'
        )
        assert stage.gateway.post(body).status == 200
    assert stage.do("big", bytes=30 * MB) == 200
    # By the other server, which has the connection since it asked for something else.
    with httpx.Client(base_url=stage.gateway.url, timeout=60) as client:
        client.get("/livez")
        asked = {
            "accessKey": stage.hostile["access_key"],
            "request": {"do": "big", "bytes": 30 * MB},
        }
        answer = client.post("/model", json=asked)
        assert len(answer.json()["response"]) == 30 * MB


def frames(stage: Stage) -> None:
    """Frames of each kind that a replica sends while it serves, as large as they may be."""
    begin = (
        '{"predictionUuid":"01890a5d-ac96-774b-bcce-b302099a8057",'
        '"startTimeStampMs":1,"endTimeStampMs":1,"metrics":{'
    )
    room = wire.LARGEST[wire.Tracked.kind] - len(begin) - 2
    for metrics in (keys(room), f'"a":{nested(room - 10)}'):
        assert stage.do("say", kind=22, text=begin + metrics + "}}", seconds=0) == 200
    raised = '{"type":"E","message":"%s"}' % ("\\u00e9" * 20_000)
    assert stage.do("say", kind=20, text=raised, seconds=0) == 500
    until(lambda: stage.do("echo") == 200)
    assert stage.do("print_much", kind="lines", bytes=8 * MB) == 200
    answer = stage.admin.get(f"{at(stage.hostile)}/logs", params={"tail": "10000"})
    assert answer.status_code == 200


def files(stage: Stage) -> None:
    """Uploads of what looks like boundaries, downloads, a whole backup."""
    near = b"\r\n--XBOUN" * (5 * MB // 9)
    form = b'--XBOUND\r\nContent-Disposition: form-data; name="near"; filename="x"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=XBOUND"}
    put = stage.admin.put(
        f"{stage.project}/files", content=form + near + b"\r\n--XBOUND--\r\n", headers=headers
    )
    assert put.status_code == 200, put.text
    with stage.admin.stream("GET", f"{stage.project}/files/near:download") as answer:
        assert sum(map(len, answer.iter_bytes())) == len(near)
    with stage.admin.stream("GET", "/backup") as answer:
        assert answer.status_code == 200
        assert sum(map(len, answer.iter_bytes())) > 10 * KIB
    assert stage.admin.get(f"{stage.gateway.url}/openapi.json").status_code == 200
    for kind in ("jsonl", "csv"):
        crn = stage.admin.get(at(stage.hostile)).json()["crn"]
        query = {"model_crn": crn, "format": kind}
        assert stage.admin.get("/metrics/export", params=query).status_code == 200


def runs(stage: Stage) -> None:
    """What a script tracks, and twenty times that side by side."""
    runs = f"{stage.project}/experiments"
    run = stage.admin.post(runs, json={"script": "tracks.py"}).json()

    def ended() -> bool:
        now = stage.admin.get(f"{runs}/{run['id']}").json()
        assert now["status"] not in ("failed", "stopped"), now
        return bool(now["status"] == "succeeded")

    until(ended, 60, pause=0.2)
    assert len(stage.admin.get(f"{runs}/{run['id']}/metrics").json()["metrics"]) > 10_000
    answer = stage.admin.get(f"{runs}:compare", params={"ids": ",".join([run["id"]] * 20)})
    assert len(answer.json()["metrics"]) == 1000


@fault(
    "the largest input to each decoder",
    injection="bodies, heads, requests, answers, frames, forms, backups and tracked values as "
    "large as they may be, while another model is called 200 times a second",
    bound=f"no turn of the loop takes {LONGEST:g} ms of CPU time ({LONGEST_FOR_ANSWERS:g} for an "
    "answer of 30 MB); memory stays within 256 MB",
)
@pytest.mark.parametrize("decoders", [bodies, heads, requests, frames, files, runs])
def test_no_input_stalls_others(
    stage: Stage, observe: Observe, decoders: Callable[[Stage], None]
) -> None:
    """One request or one model does not hold up all others."""
    before = len(stage.turns.read_text().splitlines())
    with Peak(stage.gateway.pid) as peak, stage.called() as figures:
        decoders(stage)
    lines = stage.turns.read_text().splitlines()[before:]
    turns = sorted((json.loads(line) for line in lines), key=lambda each: -each["ms"])
    longest = turns[0]["ms"] if turns else 1.0
    observe(
        f"{decoders.__name__}: a turn of {longest} ms at most, {peak.grown / MB:.0f} MB more; the "
        f"slowest call took {figures['slowest']} ms (p99 before: {stage.quiet['p99']} ms), its "
        f"caller was woken {figures['late']} ms late"
    )
    assert longest < (LONGEST_FOR_ANSWERS if decoders is requests else LONGEST), turns[:5]
    assert peak.grown < 256 * MB
