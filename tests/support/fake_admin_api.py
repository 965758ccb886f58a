"""A fake of the gateway that serves the admin API from dicts, for tests of its clients.

It reads bodies as the real API does (a field that the real one refuses is refused here), takes its
error codes from the catalogue, assigns numbers, and moves builds and deployments along their
lifecycles: a build ends when its log is read, a deployment advances when it is read. It runs no
model: it answers `add` and `echo` itself, and `fail` raises.

`tests/gateway/client/test_contract.py` holds its answers to those of a real gateway.
"""

import json
import os
import re
import sys
import threading
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.admin.builds import CreateBuild
from gateway.admin.deployments import CreateDeployment
from gateway.admin.experiments import AddToProject, CreateExperiment
from gateway.admin.models import CreateModel
from gateway.admin.projects import CreateProject
from gateway.admin.routing.json_body import BodyReader
from gateway.errors import Refusal, admin_body, model_body
from gateway.upload_manifest import ManifestEntry, ManifestReader

Json: TypeAlias = dict[str, Any]

KEY = "the-admin-key"
REQUEST_ID = "request-1"
MAX_REPLICAS = 9
NOW = "2026-11-21T02:35:00.123456Z"
MACHINE = {
    "cores": 2, "memory": 8 << 30, "memory_for_models": 7 << 30, "memory_free": 5 << 30,
    "cgroups": "v2", "holds": ["memory", "cpu", "pids", "kill"],
}  # fmt: skip
DISK = {
    "free_bytes": 5 << 30, "free_inodes": None, "reserve": 256 << 20, "ballast": True,
    "warn_below": 2 << 30, "level": "ok",
}  # fmt: skip
# Name, value, where it is from, whether it is a size.
SETTINGS: list[tuple[str, Any, str, bool]] = [
    ("port", 8080, "default", False),
    ("max_replicas", 9, "default", False),
    ("max_request_size", 5 << 20, "default", True),
    ("environment", [], "default", False),
    ("build_timeout", 60.0, "a.toml", False),
]
MODEL = "/projects/([^/]+)/models/([^/]+)"
EXPERIMENT = "/projects/([^/]+)/experiments/([^/:]+)"
BUILD = f"{MODEL}/builds/([^/:]+)"
DEPLOYMENT = f"{BUILD}/deployments/([^/:]+)"


class State:
    """What the gateway knows; tests look at it and script what happens next."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.projects: dict[str, Json] = {}
        self.models: dict[str, Json] = {}
        self.builds: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.experiments: dict[str, Json] = {}
        self.uploads: dict[str, bytes] = {}
        # Of each project the files of its last upload with their hashes; the files that were sent.
        self.files: dict[str, dict[str, str]] = {}
        self.sent: list[list[str]] = []
        self.replaced: list[str] = []
        self.refuses_uploads = False
        self.hidden: list[Json] = []  # projects that the user may not see
        self.settings = {
            name: {
                "name": name, "value": value, "default": value, "source": source, "size": size,
                "changeable": name != "port" and source == "default", "takes_effect": "immediately",
            }
            for name, value, source, size in SETTINGS
        }  # fmt: skip
        self.model_keys: list[Json] = []
        self.made_keys = 0
        self.garbage: list[Json] = []
        self.requests: list[str] = []
        self.audit: list[Json] = []
        self.page_size = 1000
        self.busy = 0  # so many calls are refused for now
        self.restart_problem = ""
        self.new_lines: list[Json] = []
        self.build_lines = ["Collecting scikit-learn", "Successfully installed"]
        self.build_status = "built"
        self.build_failure: Json | None = None
        self.deployment_failure: Json | None = None
        self.experiment_end: Json = {"status": "succeeded", "metrics": {"r2": 0.9371234567}}
        self.hidden_by = ""
        self.log_lines = [f"{NOW} stdout Model ready", f"{NOW} stderr a warning"]
        self.metrics: list[Json] = []
        self.metrics_table = ""
        self.while_building: Callable[[], object] = lambda: None
        self.while_deploying: Callable[[], object] = lambda: None
        self.dies_while_building = False

    def project(self, wish: Json) -> Json:
        known = [*self.projects.values(), *self.hidden]
        if any(each["name"] == wish["name"] for each in known):
            raise Refusal("name.taken", f"there is a project {wish['name']!r} already")
        identity = str(uuid.uuid4())
        empty = {
            "description": "",
            "creation_error": "",
            "git_url": "",
            "git_ref": "",
            "template": "",
        }
        project = {
            **empty, "id": identity, "number": len(self.projects) + 1, "path": f"/data/{identity}",
            "linked": "path" in wish, "creation_status": "creating", "created_at": NOW, **wish,
        }  # fmt: skip
        self.projects[identity] = project
        return project

    def model(self, project: Json, wish: Json) -> Json:
        same = [each for each in self.models.values() if each["project"]["id"] == project["id"]]
        if any(each["name"] == wish["name"] for each in same):
            raise Refusal("name.taken", f"there is a model {wish['name']!r} already")
        identity = str(uuid.uuid4())
        model = {
            "id": identity, "name": wish["name"], "status": "", "replicas_ready": 0,
            "project": {"id": project["id"], "name": project["name"]}, "replicas_wanted": 0,
            "access_key": f"m{uuid.uuid4().hex[1:]}", "url": f"{self.url}/model", "example": None,
            "current_deployment_id": "", "current_build_number": 0, "updated_at": NOW,
            "auth_enabled": wish.get("auth_enabled", True), "crn": f"crn:cdp:ml:local:a:{identity}",
        }  # fmt: skip
        self.models[identity] = model
        return model

    def build(self, model: Json, wish: Json) -> Json:
        identity = str(uuid.uuid4())
        number = 1 + sum(each["model_id"] == model["id"] for each in self.builds.values())
        build = {
            "id": identity, "model_id": model["id"], "build_number": number, "status": "queued",
            "failure": None, "cancelled_by": "", "kernel": "Python 3.11", "example": None,
            "example_output": None, "model_root_dir": "", "lock": {"id": "ab", "packages": 23},
            "build_script_path": "cdsw-build.sh", "created_at": NOW, **wish,
        }  # fmt: skip
        model["example"] = build["example"]
        self.builds[identity] = build
        return build

    def check(self, deployment: Json) -> None:
        if deployment["replicas"] > MAX_REPLICAS:
            raise Refusal("argument.invalid", f"replicas: give 1 to {MAX_REPLICAS}")

    def deployment(self, model: Json, build: Json, wish: Json) -> Json:
        self.check(wish)
        identity = str(uuid.uuid4())
        deployment = {
            **wish, "id": identity, "deployment_number": len(self.deployments) + 1,
            "model_id": model["id"], "build_id": build["id"], "build_number": build["build_number"],
            "status": "pending", "failure": None, "replicas_ready": 0, "deployed_at": None,
            "waiting_for": "", "nvidia_gpu": wish.get("nvidia_gpus") or 0,
            "environment": json.dumps(wish["environment"]), "created_at": NOW, "stopped_at": None,
            "deployer": {"username": "admin"},
        }  # fmt: skip
        self.deployments[identity] = deployment
        return deployment

    def experiment(self, project: Json, wish: Json) -> Json:
        identity = str(uuid.uuid4())
        experiment = {
            "id": identity, "experiment_number": len(self.experiments) + 1, "metrics": {},
            "project_id": project["id"], "status": "queued", "failure": None, "comment": "",
            "started_at": None, "ended_at": None, "arguments": [], "lock": None, **wish,
        }  # fmt: skip
        self.experiments[identity] = experiment
        return experiment

    def finish_build(self, build: Json) -> None:
        if build["status"] == "queued":
            build["status"], build["failure"] = self.build_status, self.build_failure

    def look_at(self, deployment: Json) -> None:
        """Moves the deployment by one step, as time would."""
        build = self.builds[deployment["build_id"]]
        model = self.models[deployment["model_id"]]
        if deployment["status"] == "stopping":
            deployment["status"] = "stopped"
            model |= {"status": "", "replicas_ready": 0, "replicas_wanted": 0}
            model |= {"current_deployment_id": "", "current_build_number": 0}
        elif deployment["status"] == "pending" and build["status"] == "built":
            deployment["status"] = "deploying"
            self.while_deploying()
        elif deployment["status"] == "deploying" and self.deployment_failure:
            deployment |= {"status": "failed", "failure": self.deployment_failure}
        elif deployment["status"] == "deploying":
            self._switch(model, deployment)

    def _switch(self, model: Json, deployment: Json) -> None:
        if current := self.deployments.get(model["current_deployment_id"]):
            current |= {"status": "stopped", "stopped_at": NOW}
        replicas = deployment["replicas"]
        deployment |= {"status": "deployed", "deployed_at": NOW, "replicas_ready": replicas}
        deployment["waiting_for"] = ""
        model |= {"status": "deployed", "replicas_ready": replicas, "replicas_wanted": replicas}
        model["current_deployment_id"] = deployment["id"]
        model["current_build_number"] = deployment["build_number"]

    def replicas(self, model: Json) -> Json:
        counters = ("received", "processed", "success", "failure", "error", "restart")
        replica: Json = {
            "name": f"{model['name']}-1-1-abc-x", "status": "idle", "pid": 4711, "last_exit": None,
            "rss_bytes": 64 << 20, "cpu_seconds": 1.5, **dict.fromkeys(counters, 0),
            "limits_met": {"memory": 1, "processes": 0}, "recycled": 17, "gpus": [],
        }  # fmt: skip
        found = [replica] * model["replicas_ready"]
        return {
            "replicas": found, "waiting": 1, "busy": 5, "queue_full": 2, "waited_too_long": 3,
            "not_ready": 6, "abandoned": 7, "timed_out": 8, "metrics_dropped": 9,
            "restarting": False, "restart_problem": self.restart_problem,
            "restarts_by_caller": {"10.0.0.7": 3, "10.0.0.8": 1},
        }  # fmt: skip

    def predict(self, call: Json) -> Json:
        if self.busy:
            self.busy -= 1
            raise Refusal("model.busy", "all replicas are busy", headers={"Retry-After": "1"})
        for model in self.models.values():
            if model["access_key"] == call["accessKey"]:
                current = self.deployments[model["current_deployment_id"]]
                function = self.builds[current["build_id"]]["function_name"]
                return {"success": True, "response": _answer(function, call["request"])}
        raise Refusal("model.accesskey", "no model has this access key")


def _uploaded(body: bytes) -> tuple[list[ManifestEntry], bytes]:
    """The manifest of an upload, and the contents behind it."""
    manifest, _, contents = (b"\n" + body).partition(b"\n\n")
    reader = ManifestReader()
    return [reader.read(line) for line in manifest.splitlines() if line], contents


def _read(kind: type[msgspec.Struct], body: bytes) -> Json:
    """The body, if the real API takes it. Raises Refusal."""
    BodyReader(kind).read(body)
    return dict(json.loads(body))


def _answer(function: str, request: Any) -> Any:
    if function == "fail":
        raise Refusal("model.error", "unexpected model shutdown: ValueError: no")
    return request["a"] + request["b"] if function == "add" else request


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: State

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.query = dict(parse_qsl(address.query))
        if self.headers.get("Transfer-Encoding"):
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.requests.append(f"{self.command} {self.path}")
        try:
            self._route(address.path, body)
        except Refusal as refused:
            is_call = address.path == "/model"
            answer = model_body(refused, REQUEST_ID) if is_call else admin_body(refused)
            self._send(answer, "application/json", refused.kind.status, refused.headers)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        pass

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, path: str, body: bytes) -> None:
        if path == "/livez":
            return self._json({})
        if path == "/model":
            return self._json(self.state.predict(json.loads(body)))
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            raise Refusal("auth.required", "the API key is not valid")
        for method, pattern, act in ROUTES:
            match = re.fullmatch(f"/api/v2{pattern}", path)
            if method == self.command and match:
                return act(self, body, *match.groups())
        raise Refusal("route.notfound", f"there is nothing at {path}")

    def _json(self, document: Json, status: int = 200) -> None:
        self._send(json.dumps(document).encode(), "application/json", status)

    def _send(
        self,
        content: bytes,
        kind: str,
        status: int = 200,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Request-Id", REQUEST_ID)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _page(self, plural: str, items: list[Json]) -> None:
        start = int(self.query.get("page_token", 0))
        size = min(self.state.page_size, int(self.query.get("page_size", 10)))
        token = str(start + size) if start + size < len(items) else ""
        self._json({plural: items[start : start + size], "next_page_token": token})

    # What is at each route.

    def projects(self, body: bytes) -> None:
        self._page("projects", list(self.state.projects.values()))

    def create_project(self, body: bytes) -> None:
        self._json(self.state.project(_read(CreateProject, body)))

    def project(self, body: bytes, identity: str) -> None:
        project = self.state.projects[identity]
        if project["creation_status"] == "creating":
            broken = project["git_url"].endswith("/broken")
            project["creation_status"] = "failure" if broken else "success"
            project["creation_error"] = "repository not found" if broken else ""
        self._json(project)

    def delete_project(self, body: bytes, identity: str) -> None:
        del self.state.projects[identity]
        self._json({})

    def upload(self, body: bytes, identity: str) -> None:
        self.state.uploads[self.headers["Content-Type"]] = body
        self._json({})

    def compare_files(self, body: bytes, identity: str) -> None:
        entries, _ = _uploaded(body)
        files = self.state.files.get(identity)
        here = set(files.values()) if files is not None else set()
        lacking = [n for n, e in enumerate(entries) if e.is_file and e.sha256 not in here]
        same = files == {e.path: e.sha256 for e in entries}
        self._json({"missing": ",".join(map(str, lacking)), "unchanged": same})

    def sync_files(self, body: bytes, identity: str) -> None:
        if self.state.refuses_uploads:
            raise Refusal("project.full", "an upload does not fit")
        entries, contents = _uploaded(body)
        self.state.files[identity] = {e.path: e.sha256 for e in entries}
        self.state.sent.append([e.path for e in entries if e.sent])
        assert len(contents) == sum(e.size for e in entries if e.sent)
        self._json({"files": sum(e.is_file for e in entries), "replaced": self.state.replaced})

    def models(self, body: bytes, project: str = "") -> None:
        of = [each for each in self.state.models.values() if project in ("", each["project"]["id"])]
        self._page("models", of)

    def create_model(self, body: bytes, project: str) -> None:
        wish = _read(CreateModel, body)
        asked = wish.pop("auto_build_config", None)
        if asked and asked.get("auto_deploy_model"):
            self.state.check(asked["auto_deployment_config"])
        model = self.state.model(self.state.projects[project], wish)
        started = self._launched(model, asked) if asked else {}
        self._json({**model, **started})

    def _launched(self, model: Json, asked: Json) -> Json:
        deployment = asked.pop("auto_deployment_config", None)
        deploys = asked.pop("auto_deploy_model", False)
        build = self.state.build(model, asked)
        made = self.state.deployment(model, build, deployment) if deploys else None
        return {"model_build": build, "model_deployment": made}

    def model(self, body: bytes, project: str, identity: str) -> None:
        self._json(self.state.models[identity])

    def delete_model(self, body: bytes, project: str, identity: str) -> None:
        del self.state.models[identity]
        self._json({})

    def builds(self, body: bytes, project: str, model: str) -> None:
        of = [each for each in self.state.builds.values() if each["model_id"] == model]
        self._page("model_builds", of)

    def create_build(self, body: bytes, project: str, model: str) -> None:
        launched = self._launched(self.state.models[model], _read(CreateBuild, body))
        self._json({**launched["model_build"], "model_deployment": launched["model_deployment"]})

    def build(self, body: bytes, project: str, model: str, identity: str) -> None:
        self._json(self.state.builds[identity])

    def delete_build(self, body: bytes, project: str, model: str, identity: str) -> None:
        current = self.state.deployments.get(self.state.models[model]["current_deployment_id"])
        if current and current["build_id"] == identity:
            raise Refusal("build.inuse", "the build is deployed")
        del self.state.builds[identity]
        self._json({})

    def cancel_build(self, body: bytes, project: str, model: str, identity: str) -> None:
        build = self.state.builds[identity]
        if build["status"] != "queued":
            raise Refusal("state.conflict", f"cannot cancel build: it is {build['status']}")
        build |= {"status": "build failed", "cancelled_by": "admin"}
        for deployment in self.state.deployments.values():
            if deployment["build_id"] == identity:
                deployment["status"] = "failed"
        self._json(build)

    def build_log(self, body: bytes, project: str, model: str, identity: str) -> None:
        build = self.state.builds[identity]
        self._open_events()
        step = {"name": "BUILD_SCRIPT", "state": "running", "seconds": None}
        self._event("steps", [step])
        for line in self.state.build_lines:
            self._event("line", line)
        self.state.while_building()
        if self.state.dies_while_building:
            return
        self.state.finish_build(build)
        done = "done" if build["status"] == "built" else "failed"
        self._event("steps", [{**step, "state": done, "seconds": 1.25}])
        self._event("end", {"status": build["status"]})

    def experiments(self, body: bytes, project: str = "") -> None:
        of = [e for e in self.state.experiments.values() if project in ("", e["project_id"])]
        self._page("experiments", of)

    def create_experiment(self, body: bytes, project: str) -> None:
        self._json(
            self.state.experiment(self.state.projects[project], _read(CreateExperiment, body))
        )

    def experiment(self, body: bytes, project: str, identity: str) -> None:
        self._json(self.state.experiments[identity])

    def experiment_log(self, body: bytes, project: str, identity: str) -> None:
        experiment = self.state.experiments[identity]
        self._open_events()
        self._event("preparing", "Making an environment")
        for line in self.state.build_lines:
            self._event("line", line)
        self.state.while_building()
        if self.state.dies_while_building:
            return
        began, ended = NOW, NOW.replace("35:00", "35:02")
        experiment |= {"started_at": began, "ended_at": ended, **self.state.experiment_end}
        self._event("end", {"status": experiment["status"]})

    def experiment_files(self, body: bytes, project: str, identity: str) -> None:
        self._page("files", [{"path": "model.pkl", "file_size": "7"}])

    def stop_experiment(self, body: bytes, project: str, identity: str) -> None:
        self.state.experiments[identity]["status"] = "stopped"
        self._json(self.state.experiments[identity])

    def delete_experiment(self, body: bytes, project: str, identity: str) -> None:
        del self.state.experiments[identity]
        self._json({})

    def add_to_project(self, body: bytes, project: str, identity: str) -> None:
        wish = _read(AddToProject, body)
        if wish["path"] == "absent":
            raise Refusal("file.notfound", f"there is no file {wish['path']!r}")
        self.state.uploads[wish["target"]] = f"{identity}/{wish['path']}".encode()
        self._json({"hidden_by": self.state.hidden_by})

    def compare(self, body: bytes, project: str) -> None:
        chosen = [self.state.experiments[each] for each in self.query["ids"].split(",")]
        keys = sorted({key for each in chosen for key in each["metrics"]})
        metrics = {key: [each["metrics"].get(key) for each in chosen] for key in keys}
        self._json({"experiments": chosen, "metrics": metrics, "series": {}})

    def deployments(self, body: bytes, project: str, model: str) -> None:
        of = [each for each in self.state.deployments.values() if each["model_id"] == model]
        self._page("model_deployments", of)

    def create_deployment(self, body: bytes, project: str, model: str, build: str) -> None:
        of, wish = self.state.models[model], _read(CreateDeployment, body)
        self._json(self.state.deployment(of, self.state.builds[build], wish))

    def deployment(self, body: bytes, project: str, model: str, build: str, identity: str) -> None:
        self.state.look_at(self.state.deployments[identity])
        self._json(self.state.deployments[identity])

    def stop(self, body: bytes, project: str, model: str) -> None:
        of = [d for d in self.state.deployments.values() if d["model_id"] == model]
        living = [d for d in of if d["status"] in ("pending", "deploying", "deployed")]
        for each in living:
            each["status"] = "stopping"
        self._json({"model_deployments": living})

    def restart(self, body: bytes, project: str, model: str, build: str, identity: str) -> None:
        self._json(self.state.deployments[identity])

    def replicas(self, body: bytes, project: str, model: str) -> None:
        self._json(self.state.replicas(self.state.models[model]))

    def logs(self, body: bytes, project: str, model: str) -> None:
        found = []
        for line in self.state.log_lines:
            at, stream, text = line.split(" ", 2)
            found.append({"replica": "r1", "at": at, "stream": stream, "text": text})
        if self.headers["Accept"] != "text/event-stream":
            lines = "\n".join(map(json.dumps, found))
            return self._send(lines.encode(), "application/x-ndjson")
        self._open_events()
        for each in found + self.state.new_lines:
            self._event("line", each)
        self.state.while_building()
        return None

    def metrics(self, body: bytes) -> None:
        self._json({"metrics": self.state.metrics, "next_page_token": ""})

    def export(self, body: bytes) -> None:
        self._send(self.state.metrics_table.encode(), "text/csv")

    def site(self, body: bytes) -> None:
        site = {"version": "0.1.0", "data": "/data", "started_at": NOW, "url": self.state.url}
        self._json(
            {
                **site,
                "machine": MACHINE,
                "gpus": {"total": 0},
                "disk": DISK,
                "last_collection": None,
            }
        )

    def site_settings(self, body: bytes) -> None:
        self._json({"settings": list(self.state.settings.values())})

    def change_settings(self, body: bytes) -> None:
        for name, value in json.loads(body).items():
            if not self.state.settings[name]["changeable"]:
                raise Refusal("setting.fixed", f"{name} is fixed by a.toml")
            if isinstance(value, str):  # as it is typed
                value = int(value[:-3]) << 20 if value.endswith("MiB") else int(value)
            self.state.settings[name] |= {"value": value, "source": "site settings"}
        self.site_settings(b"")

    def reset_setting(self, body: bytes, name: str) -> None:
        setting = self.state.settings[name]
        setting |= {"value": setting["default"], "source": "default"}
        self.site_settings(b"")

    def site_models(self, body: bytes) -> None:
        active = [each for each in self.state.models.values() if each["status"]]
        takes: Json = {"requested": {"cpu": 2.0, "memory_bytes": 1 << 30, "gpus": 2}}
        takes |= {"used": {"cpu": 0.257, "memory_bytes": 64 << 20, "gpus": 0.5}}
        takes |= {"build_number": 1}
        about = {"deployer": {"username": "ada"}, "deployed_at": NOW, "waiting": 3}
        same = ("id", "name", "project", "status", "replicas_ready", "replicas_wanted")
        of_model = [{name: each[name] for name in same} for each in active]
        self._page("models", [each | takes | about for each in of_model])

    def whoami(self, body: bytes) -> None:
        self._json({"username": "admin"})

    def create_model_key(self, body: bytes) -> None:
        number = self.state.made_keys = self.state.made_keys + 1
        key = {**json.loads(body), "key_id": f"id-{number}"}
        self.state.model_keys.append(key)
        self._json({**key, "api_key": f"id.key-{number}"})

    def list_model_keys(self, body: bytes) -> None:
        self._json({"keys": self.state.model_keys, "next_page_token": ""})

    def delete_model_key(self, body: bytes, identity: str) -> None:
        kept = [each for each in self.state.model_keys if each["key_id"] != identity]
        self.state.model_keys[:] = kept
        self._json({})

    def find_garbage(self, body: bytes) -> None:
        found = self.state.garbage
        self._json({"garbage": found, "bytes": sum(each["bytes"] for each in found)})

    def collect_garbage(self, body: bytes) -> None:
        self.find_garbage(body)
        self.state.garbage = []

    def audit(self, body: bytes) -> None:
        """As the real one: the newest of what is asked for, and where older ones begin."""
        query = dict(parse_qsl(urlsplit(self.path).query))
        after, before = int(query.get("after", 0)), int(query.get("before", 1 << 30))
        fitting = [
            each
            for each in self.state.audit
            if after < each["number"] < before and query.get("who") in (None, each["who"])
        ]
        shown = fitting[-int(query["page_size"]) :]
        older = shown[0]["number"] if len(shown) < len(fitting) else None
        self._json({"entries": shown, "next_before": older})

    def link(self, body: bytes) -> None:
        self._json({"token": "a-token_of-once", "seconds": 60.0})

    def broken(self, body: bytes) -> None:
        self._send(b"<h1>Bad gateway</h1>", "text/html", 502)

    def _open_events(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b": a comment, to be passed over\n\n")

    def _event(self, name: str, data: Any) -> None:
        with suppress(ConnectionError):  # the client may have gone
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/site", Handler.site),
    ("GET", "/site/settings", Handler.site_settings),
    ("PATCH", "/site/settings", Handler.change_settings),
    ("DELETE", "/site/settings/([^/]+)", Handler.reset_setting),
    ("GET", "/site/models", Handler.site_models),
    ("GET", "/whoami", Handler.whoami),
    ("POST", "/users/admin/model_keys", Handler.create_model_key),
    ("GET", "/users/admin/model_keys", Handler.list_model_keys),
    ("DELETE", "/users/admin/model_keys/([^/]+)", Handler.delete_model_key),
    ("GET", "/garbage", Handler.find_garbage),
    ("DELETE", "/garbage", Handler.collect_garbage),
    ("GET", "/audit", Handler.audit),
    ("POST", "/site/links", Handler.link),
    ("GET", "/broken", Handler.broken),
    ("GET", "/metrics", Handler.metrics),
    ("GET", "/metrics/export", Handler.export),
    ("GET", "/projects", Handler.projects),
    ("POST", "/projects", Handler.create_project),
    ("GET", "/projects/([^/]+)", Handler.project),
    ("DELETE", "/projects/([^/]+)", Handler.delete_project),
    ("PUT", "/projects/([^/]+)/files", Handler.upload),
    ("POST", "/projects/([^/]+)/files:compare", Handler.compare_files),
    ("PUT", "/projects/([^/]+)/files:sync", Handler.sync_files),
    ("GET", "/models", Handler.models),
    ("GET", "/projects/([^/]+)/models", Handler.models),
    ("POST", "/projects/([^/]+)/models", Handler.create_model),
    ("GET", MODEL, Handler.model),
    ("DELETE", MODEL, Handler.delete_model),
    ("GET", f"{MODEL}/builds", Handler.builds),
    ("POST", f"{MODEL}/builds", Handler.create_build),
    ("GET", "/experiments", Handler.experiments),
    ("GET", "/projects/([^/]+)/experiments", Handler.experiments),
    ("POST", "/projects/([^/]+)/experiments", Handler.create_experiment),
    ("GET", "/projects/([^/]+)/experiments:compare", Handler.compare),
    ("GET", EXPERIMENT, Handler.experiment),
    ("DELETE", EXPERIMENT, Handler.delete_experiment),
    ("POST", f"{EXPERIMENT}:stop", Handler.stop_experiment),
    ("POST", f"{EXPERIMENT}:add_to_project", Handler.add_to_project),
    ("GET", f"{EXPERIMENT}/log", Handler.experiment_log),
    ("GET", f"{EXPERIMENT}/files", Handler.experiment_files),
    ("GET", f"{MODEL}/deployments", Handler.deployments),
    ("GET", f"{MODEL}/replicas", Handler.replicas),
    ("GET", f"{MODEL}/logs", Handler.logs),
    ("GET", BUILD, Handler.build),
    ("DELETE", BUILD, Handler.delete_build),
    ("POST", f"{BUILD}:cancel", Handler.cancel_build),
    ("GET", f"{BUILD}/log", Handler.build_log),
    ("POST", f"{BUILD}/deployments", Handler.create_deployment),
    ("GET", DEPLOYMENT, Handler.deployment),
    ("POST", f"{MODEL}:stop", Handler.stop),
    ("POST", f"{DEPLOYMENT}:restart", Handler.restart),
]


@contextmanager
def fake_gateway(data: Path) -> Iterator[State]:
    """Runs one in a thread, with its address and key where the command line looks for them."""

    class Here(Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Here) as server:
        Here.state = State(f"http://127.0.0.1:{server.server_port}")
        announce(data, Here.state.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Here.state
        finally:
            server.shutdown()
            thread.join()


def announce(data: Path, url: str) -> None:
    data.mkdir(parents=True, exist_ok=True)
    (data / "gateway.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
    (data / "admin.key").write_text(f"{KEY}\n")


def serve() -> None:
    """Stands in for `predictd serve` in tests of the demo; port 1 stands for one that is taken."""
    parser = ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    if arguments.port == 1:
        sys.exit("predictd: port 1 is taken")
    with fake_gateway(arguments.data) as state:
        print(json.dumps({"url": state.url, "pid": os.getpid()}), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    serve()
