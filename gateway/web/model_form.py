"""The form of a new model or build: what is offered, what was typed, what the API gets. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import msgspec

from gateway.errors import Refusal
from gateway.web.form_errors import field_errors

LABELS = {
    "name": "Name",
    "description": "Description",
    "file_path": "File",
    "function_name": "Function",
    "build_script_path": "Build script",
    "example": "Example Input",
    "example_output": "Example Output",
    "runtime_identifier": "Kernel / Runtime",
    "comment": "Comment",
    "cpu": "CPU",
    "memory": "Memory",
    "nvidia_gpus": "GPUs",
    "replicas": "Replicas",
    "environment": "Environment Variables",
}
FIELDS = tuple(LABELS)
# What the form keeps of the last build and deployment without showing it.
KEPT = ("model_root_dir", "build_script_path", "network", "deployment_network")
_USUAL_FUNCTION = "predict"


class Offer(NamedTuple):
    """A file to pick, with its functions."""

    path: str
    functions: list[dict[str, Any]]
    problem: str


class ModelForm:
    """What the form shows and sends."""

    def __init__(self, files: list[dict[str, Any]], typed: Mapping[str, str]) -> None:
        self._typed = typed
        self.files = [Offer(each["path"], each["functions"], each["problem"]) for each in files]
        file = self.value("file_path")
        if file and all(each.path != file for each in self.files):
            self.files.append(Offer(file, [], ""))

    @classmethod
    def empty(cls, files: list[dict[str, Any]], query: Mapping[str, str]) -> Self:
        """The form of a new model, with the file and function that are probably meant."""
        pairs = [(each["path"], f["name"]) for each in files for f in each["functions"]]
        usual = [pair for pair in pairs if pair[1] == _USUAL_FUNCTION]
        file, function = (usual or [("", "")])[0] if len(pairs) != 1 else pairs[0]
        first = {"file_path": query.get("file", file), "auth_enabled": "on"}
        if first["file_path"] == file:
            first["function_name"] = function
        return cls(files, {"cpu": "1", "memory": "2", "nvidia_gpus": "0", "replicas": "1", **first})

    @classmethod
    def of_model(
        cls,
        files: list[dict[str, Any]],
        model: Mapping[str, Any],
        build: Mapping[str, Any],
        deployment: Mapping[str, Any],
    ) -> Self:
        """The form of the next build of a model: as the last one."""
        before = ("file_path", "function_name", *KEPT[:2])
        typed = {name: str(build.get(name, "")) for name in before}
        typed["network"] = build.get("network", "")
        typed["deployment_network"] = deployment.get("network", "")
        if build:
            typed["runtime_identifier"] = str(build["kernel"] or "")
        if build.get("example") is not None:
            typed["example"] = text_of(build["example"])
        if build.get("example_output") is not None:
            typed["example_output"] = text_of(build["example_output"])
        resources = model["default_resources"]
        cpu = deployment.get("cpu", resources["cpu_millicores"] / 1000)
        memory = deployment.get("memory", resources["memory_mb"] / 1024)
        usual = model["default_replication_policy"]["num_replicas"]
        gpus = deployment.get("nvidia_gpu", resources["nvidia_gpus"])
        typed |= {"cpu": f"{cpu:g}", "memory": f"{memory:g}", "nvidia_gpus": str(gpus)}
        typed["replicas"] = str(deployment.get("replicas", usual))
        variables = msgspec.json.decode(deployment.get("environment", "{}"))
        typed["secrets"] = ", ".join(deployment.get("secrets", ()))
        typed["environment"] = "\n".join(f"{name}={value}" for name, value in variables.items())
        return cls(files, typed)

    def value(self, name: str) -> str:
        return self._typed.get(name, "")

    def has(self, name: str) -> bool:
        return name in self._typed

    @property
    def function(self) -> str:
        return self.value("function_name").strip()

    @property
    def picked(self) -> list[dict[str, Any]]:
        """The functions of the file that is picked."""
        file = self.value("file_path")
        return next((each.functions for each in self.files if each.path == file), [])

    @property
    def example_output(self) -> Any:
        """The example of an answer; None without one. Raises Refusal."""
        return _json("example_output", self.value("example_output"))

    def checked(self) -> dict[str, Any]:
        """The body of a check."""
        names = ("model_root_dir", "build_script_path", "runtime_identifier")
        return {
            "file_path": self.value("file_path").strip(),
            "function_name": self.function,
            **{name: self.value(name) for name in names if self.value(name)},
        }

    def tried(self) -> dict[str, Any]:
        """The body of a session that tries the function. Raises Refusal."""
        network = _named("network", self.value("deployment_network"))
        return {**self.checked(), **network, **self._gpus()}

    def example(self) -> Any:
        """The example of a request; None without one. Raises Refusal."""
        return _json("example", self.value("example"))

    def deployment(self) -> dict[str, Any]:
        """The deployment of the build. Raises Refusal."""
        replicas = _number("replicas", self.value("replicas"))
        return {
            "cpu": _number("cpu", self.value("cpu")),
            "memory": _number("memory", self.value("memory")),
            **self._gpus(),
            "replicas": None if replicas is None else int(replicas),
            "environment": variables_of(self.value("environment")),
            **_named("network", self.value("deployment_network")),
        }

    def _gpus(self) -> dict[str, int]:
        """Nothing from the form of a machine without GPUs. Raises Refusal."""
        number = _number("nvidia_gpus", self.value("nvidia_gpus"))
        return {} if number is None else {"nvidia_gpus": int(number)}

    def build(self) -> dict[str, Any]:
        """The build with its deployment. Raises Refusal."""
        return {
            **self.checked(),
            **_named("network", self.value("network")),
            "example": self.example(),
            "example_output": self.example_output,
            "comment": self.value("comment"),
            "auto_deploy_model": True,
            "auto_deployment_config": self.deployment(),
        }


def errors_of(refused: Refusal | None, checked: Mapping[str, Any] | None) -> dict[str, str]:
    """What is wrong with each field."""
    found: dict[str, str] = {}
    for each in (checked or {}).get("problems", ()):
        if field := each["field"]:
            text = f"{each['problem']}. {each['advice']}"
            found[field] = f"{found[field]} {text}" if field in found else text
    for field, text in field_errors(refused, FIELDS).items():
        if text:
            found.setdefault(field, text)
    if refused is not None and refused.code == "kernel.unknown":
        found["runtime_identifier"] = refused.message
    return found


def variables_of(text: str) -> dict[str, str]:
    """Variables of lines `NAME=value`. Raises Refusal."""
    found: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise Refusal("argument.invalid", f"environment: {line!r} is not NAME=value")
        found[name.strip()] = value
    return found


def text_of(value: Any) -> str:
    """A value as the JSON text that a form shows: in lines, unless it is short."""
    text = msgspec.json.encode(value)
    return msgspec.json.format(text, indent=2 if len(text) > 40 or b":" in text else 0).decode()


def _named(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}


def _json(field: str, text: str) -> Any:
    if not text.strip():
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Refusal("argument.invalid", f"{field}: {not_json(error)}") from error


def not_json(error: Exception) -> str:
    """What the decoder says of a text that is typed as JSON."""
    return f"it is not JSON: {str(error).removeprefix('JSON is malformed: ')}"


def _number(field: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        problem = f"{field}: {text!r} is not a number"
        raise Refusal("argument.invalid", problem) from None
