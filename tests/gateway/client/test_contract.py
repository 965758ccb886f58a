"""The fake admin API is held to the real one: both are asked the same, and answer alike.

Alike: the same status and error code, the same events, and of each record no field that the real
one does not have, nor of another JSON type. The fake may leave fields out: a client that reads one
of those fails in its own tests.
"""

import itertools
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.client import ApiError, Client, Json
from tests.gateway.conftest import Samples
from tests.support.fake_admin_api import KEY, State
from tests.support.gateway import url_in
from tests.support.polling import until

# Their keys are not fields: settings, metrics, callers.
FREE = {"value", "default", "metrics", "series", "restarts_by_caller", "limits_met", "example"}
SCRIPT = "import cdsw\nprint('hello')\ncdsw.track_metric('r2', 0.5)\ncdsw.track_file('kept.txt')\n"
MODEL = "def add(args):\n    return args['a'] + args['b']\n"


class Conversation:
    """Asks a gateway for one thing after the other, and keeps all answers by their names."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answers: dict[str, Any] = {}

    def ask(self, name: str, request: Callable[[], Any]) -> Any:
        """What the gateway answers: a record, or the status and code of its refusal."""
        try:
            answer = request()
        except ApiError as error:
            answer = (type(error).__name__, error.status, error.code, bool(error.advice))
        self.answers[name] = answer
        return answer


def talk(client: Client, folder: Path) -> dict[str, Any]:
    """Every request that the command line makes, and the refusals that it shows."""
    say = Conversation(client)
    ask, get, post, delete = say.ask, client.get, client.post, client.delete
    _project(say, folder)
    project = f"/projects/{say.answers['project']['id']}"
    model, build, deployment = _model(say, project)
    ask("model", lambda: get(model))
    ask("builds", lambda: get(f"{model}/builds"))
    ask("deployments", lambda: get(f"{model}/deployments"))
    ask("replicas", lambda: get(f"{model}/replicas"))
    crn = say.answers["model"]["crn"]
    ask("metrics", lambda: get("/metrics", model_crn=crn, start_timestamp_ms=0))
    ask("models", lambda: get("/models", page_size=1))
    ask("site models", lambda: get("/site/models"))
    ask("logs", lambda: client.lines(f"{model}/logs"))
    access_key = say.answers["model"]["access_key"]
    ask("call", lambda: client.call(access_key, {"a": 1, "b": 2}))
    ask("call: access key", lambda: client.call("mnone", None))
    ask("delete build: deployed", lambda: delete(build))
    ask("restart", lambda: post(f"{deployment}:restart"))
    sizes = {"replicas": 1, "cpu": 0.5, "memory": 0.25, "network": "machine", "environment": {}}
    ask("redeploy", lambda: post(f"{build}/deployments", sizes))
    ask("redeploy: sizes", lambda: post(f"{build}/deployments", {**sizes, "replicas": 10}))
    ask("redeploy: field", lambda: post(f"{build}/deployments", {**sizes, "replica": 1}))
    ask("stop", lambda: post(f"{model}:stop"))
    _experiment(say, project)
    _site(say)
    ask("delete model", lambda: delete(model))
    ask("delete project", lambda: delete(project))
    ask("no route", lambda: get("/nothing"))
    return say.answers


def _project(say: Conversation, folder: Path) -> None:
    new = {"name": folder.name, "template": "local", "path": str(folder)}
    made = say.ask("project", lambda: say.client.post("/projects", new))
    say.ask("project: name", lambda: say.client.post("/projects", new))
    say.ask("project: field", lambda: say.client.post("/projects", {**new, "folder": ""}))
    say.ask("project again", lambda: say.client.get(f"/projects/{made['id']}"))
    say.ask("projects", lambda: say.client.get("/projects", page_size=1))


def _model(say: Conversation, project: str) -> tuple[str, str, str]:
    """Builds and deploys; returns the paths of the model, its build and its deployment."""
    client, models = say.client, f"{project}/models"
    sizes = {"replicas": 1, "cpu": 0.5, "memory": 0.25, "network": "machine", "environment": {}}
    config: Json = {"file_path": "model.py", "function_name": "add", "comment": "", "kernel": ""}
    config |= {"network": "machine", "example": {"a": 1, "b": 2}, "auto_deploy_model": True}
    config |= {"auto_deployment_config": sizes}
    new = {"name": "m", "auth_enabled": False, "auto_build_model": True}
    many = {**config, "auto_deployment_config": {**sizes, "replicas": 10}}
    say.ask("launch: sizes", lambda: client.post(models, {**new, "auto_build_config": many}))
    made = say.ask("launch", lambda: client.post(models, {**new, "auto_build_config": config}))
    say.ask("model: name", lambda: client.post(models, {"name": "m", "auth_enabled": True}))
    model = f"{models}/{made['id']}"
    build = f"{model}/builds/{made['model_build']['id']}"
    deployment = f"{build}/deployments/{made['model_deployment']['id']}"
    say.answers["build log"] = _events(client, f"{build}/log")
    say.ask("build", lambda: client.get(build))
    until(lambda: client.get(deployment)["status"] not in ("pending", "deploying"))
    served = say.ask("deployment", lambda: client.get(deployment))
    assert served["status"] == "deployed", served["failure"]
    return model, build, deployment


def _experiment(say: Conversation, project: str) -> None:
    client, asked = say.client, {"script": "script.py", "arguments": ["a"], "memory": 0.25}
    made = say.ask("experiment", lambda: client.post(f"{project}/experiments", asked))
    experiment = f"{project}/experiments/{made['id']}"
    say.answers["experiment log"] = _events(client, f"{experiment}/log")
    say.ask("experiment again", lambda: client.get(experiment))
    say.ask("experiments", lambda: client.get(f"{project}/experiments"))
    files = say.ask("files", lambda: client.get(f"{experiment}/files"))["files"]
    compare = f"{project}/experiments:compare"
    say.ask("compare", lambda: client.get(compare, ids=made["id"]))
    copy = {"path": files[0]["path"], "target": "copy"}
    say.ask("promote", lambda: client.post(f"{experiment}:add_to_project", copy))
    say.ask("delete experiment", lambda: client.delete(experiment))


def _site(say: Conversation) -> None:
    client = say.client
    say.ask("whoami", lambda: client.get("/whoami"))
    say.ask("site", lambda: client.get("/site"))
    say.ask("settings", lambda: client.get("/site/settings"))
    say.ask("set", lambda: client.patch("/site/settings", {"max_replicas": "9"}))
    say.ask("reset", lambda: client.delete("/site/settings/max_replicas"))
    say.ask("audit", lambda: client.get("/audit", page_size=1))
    say.ask("link", lambda: client.post("/site/links"))
    key = {"comment": "", "expiry_date": ""}
    say.ask("key", lambda: client.post("/users/admin/model_keys", key))


def _events(client: Client, path: str) -> dict[str, Any]:
    """The last event of each name; the stream ends with `end`."""
    events = list(client.events(path))
    assert events[-1].name == "end"
    return {event.name: event.data for event in events}


def differences(fake: Any, real: Any, path: str) -> list[str]:
    """Where the fake's answer is not one that the real gateway gives."""
    if isinstance(fake, dict) and isinstance(real, dict):
        more = [f"{path}.{name}" for name in fake.keys() - real.keys()]
        both = (name for name in fake.keys() & real.keys() if name not in FREE)
        return more + list(
            itertools.chain.from_iterable(
                differences(fake[name], real[name], f"{path}.{name}") for name in both
            )
        )
    if isinstance(fake, list) and isinstance(real, list):
        pairs = zip(fake[:1], real[:1], strict=False)
        return [each for f, r in pairs for each in differences(f, r, f"{path}[]")]
    if isinstance(fake, tuple) or isinstance(real, tuple):
        return [] if fake == real else [f"{path}: {fake} is not {real}"]
    kinds = {_kind(fake), _kind(real)}
    return [] if len(kinds - {"null"}) <= 1 else [f"{path}: {sorted(kinds)}"]


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "number" if type(value) in (int, float) else type(value).__name__


def test_the_fake_answers_as_the_real_gateway(
    state: State, samples: Samples, tmp_path: Path
) -> None:
    """Each answer of the fake, refusals included, is one of the real gateway."""
    folder = tmp_path / "contract"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "kept.txt").write_text("kept")
    key = (samples.data / "admin.key").read_text().strip()
    with Client(url_in(samples.data), key) as real, Client(state.url, KEY) as fake:
        expected, answers = talk(real, folder), talk(fake, folder)
    assert answers.keys() == expected.keys()
    found = [each for name in answers for each in differences(answers[name], expected[name], name)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", f"Basic {KEY}"])
def test_a_wrong_key_is_refused_alike(state: State, samples: Samples, authorization: str) -> None:
    """What is no key of theirs is 401 at both."""
    assert _status(state.url, authorization) == _status(url_in(samples.data), authorization) == 401


def _status(url: str, authorization: str) -> int:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", "/api/v2/projects", headers={"Authorization": authorization})
    try:
        return connection.getresponse().status
    finally:
        connection.close()
