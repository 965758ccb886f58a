"""What the pages of deployments compute: the deployment to go back to, how two differ, and what the
form of a new one says. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.errors import Refusal

Json = dict[str, Any]
_COMPARED = {
    "build_number": "Build",
    "replicas": "Replicas",
    "cpu": "CPU (cores)",
    "memory": "Memory (GB)",
    "nvidia_gpu": "GPUs",
    "network": "Network",
}


# What the network of a deployment reaches.
NETWORKS = (
    ("machine", "Other machines and this one"),
    ("listen", "Other machines and this one, and may listen on ports"),
    ("outward", "Other machines only"),
    ("none", "None"),
)


class ChangedValue(NamedTuple):
    """What differs between two deployments; "" where one has it not."""

    name: str
    before: str
    after: str


def before_current(recent: Sequence[Json], current_id: str) -> Json | None:
    """The deployment to go back to: the last one that served another build than the current one,
    before it, and whose build still exists. `recent` has the last one first."""
    served = [each for each in recent if each["deployed_at"]]
    current = next((each for each in served if each["id"] == current_id), None)
    current = current or next(iter(served), None)
    if current is None:
        return None
    for each in served:
        older = each["deployment_number"] < current["deployment_number"]
        if older and each["build_id"] and each["build_id"] != current["build_id"]:
            return each
    return None


def differences(before: Json, after: Json) -> list[ChangedValue]:
    """What differs between two deployments: settings, then variables that the user may see."""
    found = [
        ChangedValue(label, _text(before[name]), _text(after[name]))
        for name, label in _COMPARED.items()
        if before[name] != after[name]
    ]
    old, new = (json.loads(each["environment"] or "{}") for each in (before, after))
    found += [
        ChangedValue(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    for name in sorted(set(before["secrets"]) ^ set(after["secrets"])):
        is_new = name in after["secrets"]
        found.append(ChangedValue(name, "" if is_new else "secret", "secret" if is_new else ""))
    return found


def form_values(model: Json, based_on: Json | None) -> dict[str, str]:
    """What the form of a new deployment begins with."""
    if based_on is None:
        resources = model["default_resources"]
        return {
            "based_on": "",
            "replicas": str(model["default_replication_policy"]["num_replicas"]),
            "cpu": _text(resources["cpu_millicores"] / 1000),
            "memory": _text(resources["memory_mb"] / 1024),
            "nvidia_gpus": str(resources["nvidia_gpus"]),
            "network": "machine",
            "environment": "",
            "secrets": "",
        }
    return {
        "based_on": based_on["id"],
        "replicas": str(based_on["replicas"]),
        "cpu": _text(based_on["cpu"]),
        "memory": _text(based_on["memory"]),
        "nvidia_gpus": str(based_on["nvidia_gpu"]),
        "network": based_on["network"],
        "environment": variables_text(json.loads(based_on["environment"] or "{}")),
        "secrets": "",
    }


def deployment_asked(form: Mapping[str, str], *, edits: bool) -> Json:
    """The body of the API's request, from the form. Raises Refusal that names the field."""
    asked: Json = {
        "based_on": form.get("based_on", ""),
        "replicas": _number(form, "replicas", int),
        "cpu": _number(form, "cpu", float),
        "memory": _number(form, "memory", float),
    }
    if "nvidia_gpus" in form:  # the form of a machine without GPUs does not have it
        asked["nvidia_gpus"] = _number(form, "nvidia_gpus", int)
    if edits:
        asked["environment"] = variables_in(form, "environment")
        asked["secrets"] = variables_in(form, "secrets")
        asked["network"] = form.get("network", "machine")
    return asked


def variables_in(form: Mapping[str, str], field: str) -> dict[str, str]:
    """The variables that a field has, one `NAME=value` a line, or all as a JSON object. Raises
    Refusal."""
    text = form.get(field, "").strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal("argument.invalid", f"{field}: it is not a JSON object") from None
        return {str(name): str(value) for name, value in found.items()}
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            name, separator, value = line.partition("=")
            if not separator:
                raise Refusal("argument.invalid", f"{field}: line {number} is not NAME=value")
            variables[name.strip()] = value
    return variables


def variables_text(variables: Mapping[str, str]) -> str:
    """The text of a field, from which `variables_in` reads the same."""
    lines = [f"{name}={value}" for name, value in sorted(variables.items())]
    text = "\n".join(lines)
    is_plain = len(text.splitlines()) == len(lines) and text == text.strip()
    return text if is_plain else json.dumps(dict(variables), indent=2, ensure_ascii=False)


def _number(form: Mapping[str, str], field: str, kind: type[int] | type[float]) -> float:
    text = form.get(field, "").strip()
    try:
        return kind(text)
    except ValueError:
        raise Refusal("argument.invalid", f"{field}: {text[:40]!r} is not a number") from None


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
