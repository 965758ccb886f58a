"""What the schemas of several nouns share. The spelling of the admin API is CDSW's.

A request body is a Struct that json_body.py reads. Each noun's file has the Structs of its bodies
and the function that makes its JSON. `environment` is a JSON string in replies, as clients expect,
and an object or such a string in requests. Numbers that CDSW does not have (`build_number`,
`deployment_number`, ...) are plain numbers.
"""

from typing import Annotated, Any

import msgspec

from gateway.control.records import Build, Experiment, Failure
from gateway.control.user_variables import ShownVariables
from gateway.errors import Refusal
from workers.gpus import Gpus, GpuState

Json = dict[str, Any]
# Checked to be JSON, and kept as its text.
AnyJson = msgspec.Raw
Variables = Annotated[dict[str, str], msgspec.Meta(max_length=1000)]
# Bounded by the database. What uses the amount checks that it makes sense.
Amount = Annotated[int, msgspec.Meta(le=2**31 - 1)]


def null() -> msgspec.Raw:
    return msgspec.Raw(b"null")


def text_or_none(value: msgspec.Raw) -> str | None:
    """The text of any JSON; None for null."""
    text = bytes(value).decode()
    return None if text == "null" else text


def json_or_none(text: str | None) -> msgspec.Raw | None:
    """A text of JSON as the value that it is."""
    return msgspec.Raw(text.encode()) if text is not None else None


def scaled(name: str, value: float | None, factor: int, default: int) -> int:
    """An amount in a smaller unit, or the default if there is none. Raises Refusal."""
    if value is None:
        return default
    if not 0 < value < 1e6:
        raise Refusal("argument.invalid", f"{name}: {value:g} is not a sensible amount")
    return max(1, round(value * factor))


def creator_json(name: str) -> Json:
    """The user who created something, by their name at that time."""
    return {"username": name, "name": name, "email": f"{name}@localhost"}


def variables_json(shown: ShownVariables) -> Json:
    """`environment` is a text, as in CDSW. Only the names of `secrets` are ever sent."""
    return {
        "environment": msgspec.json.encode(shown.environment).decode(),
        "secrets": shown.secrets,
        "environment_problem": shown.problem,
    }


def failure_json(failure: Failure | None) -> Json | None:
    return msgspec.structs.asdict(failure) if failure else None


def lock_json(locked: Build | Experiment) -> Json | None:
    """Which packages it has, without their names; None without a lock."""
    return {"id": locked.lock_id, "packages": locked.packages} if locked.lock_id else None


def gpu_json(state: GpuState, gpus: Gpus) -> Json:
    """One GPU: what holds it, and how much of it was used at the last measurement."""
    gpu, use = state.gpu, gpus.uses.get(state.gpu.uuid)
    return {
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_bytes": gpu.memory,
        "problem": gpu.problem,
        "holder": state.holder,
        "busy": use.busy if use else None,
        "used_bytes": use.memory if use else None,
    }
