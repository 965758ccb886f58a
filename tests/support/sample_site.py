"""A gateway with something on every page, for what is checked on all of them, and for pictures."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gateway.client import Json
from tests.support.chromium import Person
from tests.support.served_gateway import Gateway, at, write

LONG = "a-name-without-any-space-that-is-longer-than-a-phone-is-wide-0123456789"
EXAMPLE = {"petal_length": 5.4}
_FIT = '''\
"""Fits petal width to petal length, by gradient descent."""

import json
import sys

import cdsw

LENGTHS = [1.4, 1.3, 1.5, 4.7, 4.5, 4.9, 4.0, 6.0, 5.1, 5.9, 5.6, 5.8]
WIDTHS = [0.2, 0.2, 0.2, 1.4, 1.5, 1.5, 1.3, 2.5, 1.9, 2.1, 1.8, 2.2]
rate = float(sys.argv[1]) if len(sys.argv) > 1 else 0.01

slope, start = 0.0, 0.0
for step in range(60):
    errors = [slope * x + start - y for x, y in zip(LENGTHS, WIDTHS)]
    slope -= rate * sum(e * x for e, x in zip(errors, LENGTHS)) / len(LENGTHS)
    start -= rate * sum(errors) / len(LENGTHS)
    cdsw.track_metric("loss", sum(e * e for e in errors) / len(errors))
mean = sum(WIDTHS) / len(WIDTHS)
errors = [slope * x + start - y for x, y in zip(LENGTHS, WIDTHS)]
r2 = 1 - sum(e * e for e in errors) / sum((y - mean) ** 2 for y in WIDTHS)
cdsw.track_metric("mean_sq_err", sum(e * e for e in errors) / len(errors))
cdsw.track_metric("r2", r2)
print("r2", r2)
with open("line.json", "w") as file:
    json.dump({"slope": slope, "start": start}, file)
with open("residuals.csv", "w") as file:
    file.write("length,width,error\\n")
    for row in zip(LENGTHS, WIDTHS, errors):
        file.write(",".join(map(str, row)) + "\\n")
cdsw.track_file("line.json")
'''
_PREDICT = '''\
import sys

import cdsw

SLOPE, START = 0.4164, -0.3665


@cdsw.model_metrics
def predict(args):
    """Petal width in centimetres, by petal length."""
    length = float(args["petal_length"])
    if length > 20:
        print("no petal is that long:", length, file=sys.stderr)
        raise ValueError(f"petal_length: {length} cm")
    print("predicted for", length)
    cdsw.track_metric("petal_length", length)
    cdsw.track_metric("petal_width", SLOPE * length + START)
    return SLOPE * length + START
'''


class SampleSite(NamedTuple):
    """Where its things are, and the administrator to sign in."""

    administrator: Person
    values: Mapping[str, str]  # of the placeholders in the paths of pages
    project: str
    model: str
    empty_project: str
    empty_model: str
    failed_build: str

    def path_of(self, page: str) -> str:
        """The path of a page here. A new placeholder has to be entered in `values`."""
        values = {**self.values, "path": _PATHS.get(page, "fit.py")}
        path = re.sub("<(?:path:)?(.+?)>", lambda found: quote(values[found[1]], safe="/"), page)
        return path + _QUERIES.get(page, "")


_FOLDER = "/projects/<project_id>/files/<path:path>"
_OUTPUT = "/projects/<project_id>/experiments/<experiment_id>/file"
_CHANGES = "/projects/<project_id>/models/<model_id>/builds/<build_id>/changes"
_PATHS = {_FOLDER: "data"}
_QUERIES = {_OUTPUT: "?path=residuals.csv", _CHANGES: "?file=predict.py"}
# A stream of events, and a download.
NO_PAGES = ("/events", "/admin/activity/export")


def populate(gateway: Gateway, folder: Path, requests: int = 30, *, long: str = LONG) -> SampleSite:
    """Projects, models, builds, experiments, traffic and users, on a gateway that has none. `long`
    is a word in some of their names."""
    client = gateway.client
    ada = Person("ada", "correct horse battery")
    client.post(
        "/users",
        {"username": ada.name, "password": ada.password, "administrator": True, "name": "Ada"},
    )
    client.post("/users", {"username": "grace", "password": "a long enough password"})
    files = {
        "predict.py": _PREDICT,
        "fit.py": _FIT,
        "data/notes.txt": "Fisher and Anderson\n",
        f"data/{long}.txt": "x\n",
    }
    project = gateway.project(write(folder / "iris", files), "Iris Project")
    base = f"/projects/{project['id']}"
    about = {"description": f"Petal width by petal length. {long}", "visibility": "public"}
    client.patch(base, about)
    client.put(f"{base}/collaborators/grace", {"permission": "contributor"})
    experiments = [
        _ended(gateway, base, {"script": "fit.py", "arguments": [rate], "comment": comment})
        for rate, comment in (("0.001", ""), ("0.02", "Testing a run .."), ("0.04", ""))
    ]
    model = gateway.model(project, "predict-petal-width")
    client.patch(at(model), {"description": "Predicts petal width by petal length."})
    _deployed(gateway, model, "Initial revision.")
    _call(gateway, model, requests // 2)
    write(folder / "iris", {"predict.py": _PREDICT.replace("-0.3665", "-0.3631")})
    second = _deployed(gateway, model, f"Fitted again. {long}", replicas=2)
    _call(gateway, model, requests)
    _aggregate(gateway, second)
    empty = client.post("/projects", {"name": long, "template": "blank"})
    broken = gateway.model(project, long)
    failed = gateway.build(broken, "fit.py", "no_such_function")
    runtime = client.post("/runtimes", {"name": "bare", "description": "No packages."})
    return SampleSite(
        administrator=ada,
        values={
            "project_id": project["id"],
            "model_id": model["id"],
            "name": model["name"],
            "number": str(model["model_number"]),
            "build_id": second["build_id"],
            "deployment_id": second["id"],
            "experiment_id": experiments[-1]["id"],
            "username": "grace",
            "runtime_identifier": runtime["runtime_identifier"],
        },
        project=base,
        model=at(model),
        empty_project=f"/projects/{empty['id']}",
        empty_model=at(broken),
        failed_build=f"{at(broken)}/builds/{failed['id']}",
    )


def _ended(gateway: Gateway, base: str, wish: Json) -> Json:
    path = f"{base}/experiments"
    ended = gateway.finished(gateway.client.post(path, wish), path, pause=0.1)
    assert ended["status"] == "succeeded", ended
    return ended


def _deployed(gateway: Gateway, model: Json, comment: str, **more: object) -> Json:
    build = gateway.build(model, "predict.py", "predict", comment=comment, example=EXAMPLE)
    deployment = gateway.deploy(model, build, environment={"UNIT": "cm"}, **more)
    assert deployment["status"] == "deployed", deployment
    return deployment


def _call(gateway: Gateway, model: Json, count: int) -> None:
    """Some of the calls fail in the model."""
    for number in range(count):
        length = 99.0 if number % 13 == 5 else 1 + number % 50 / 10
        reply = gateway.call(model, {"petal_length": length})
        if reply.status == 200:
            truth = {"actual_width": length * 0.4 - 0.3, "flower": "iris"}
            measured = {"prediction_uuid": reply.body["response"]["uuid"], "metrics": truth}
            gateway.client.post("/metrics/delayed", measured)


def _aggregate(gateway: Gateway, deployment: Json) -> None:
    """What was measured each hour of the last hours."""
    hour = 3_600_000
    now = int(time.time() * 1000)
    for n in range(8):
        end = now - (7 - n) * hour
        aggregate = {
            "model_deployment_crn": deployment["crn"],
            "metrics": {"mean_sq_err": 0.02 + n % 3 / 100 + n / 500, "predictions": 10 + n % 4},
            "start_timestamp_ms": end - hour,
            "end_timestamp_ms": end,
        }
        gateway.client.post("/metrics/aggregate", aggregate)
