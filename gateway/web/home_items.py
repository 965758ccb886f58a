"""What the first page shows of models and of the audit log. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gateway.web.api import url
from gateway.web.states import Tone, model_state

# The rows of what needs attention.
_MOST = 20
_WORST: tuple[Tone, ...] = ("bad", "warn", "busy")
# The pages of objects in the audit log. What is deleted has none.
_PAGE = re.compile(
    r"/projects/[\w-]+(?:/models/[\w-]+(?:/builds/[\w-]+(?=/|$))?|/experiments/[\w-]+)?(?=/|:|$)"
)
_NO_ACTIVITY = ("sign_in", "sign_out", "link.create", "link.redeem")
_LONGEST = 100
# What actions are called here, where "verb noun" is not what one would say.
_ACTS = {
    "key.revoke_all": "Revoke all keys",
    "site.set": "Change a setting",
    "site.reset": "Reset a setting",
    "site.check": "Check the machine",
}


class Attention(NamedTuple):
    """Something that needs attention, with its page and what to know."""

    name: str
    path: str
    label: str
    tone: Tone
    text: str
    place: str = ""


class OwnEntry(NamedTuple):
    """An entry of the audit log, and the page of its object, if it may have one."""

    number: int
    at: str
    action: str
    outcome: str
    object: str
    path: str

    @property
    def text(self) -> str:
        """The action in words: "Create model" of `model.create`, "Set password"."""
        if known := _ACTS.get(self.action):
            return known
        noun, _, verb = self.action.replace("_", " ").partition(".")
        return (verb if " " in verb else f"{verb} {noun}").strip().capitalize()


def attention(models: Iterable[dict[str, Any]]) -> list[Attention]:
    """The models that fail, or work partly, and those that wait for a build: the worst first."""
    found = [_of_model(model) for model in models]
    shown = [each for each in found if each is not None]
    return sorted(shown, key=lambda each: _WORST.index(each.tone))[:_MOST]


def _of_model(model: dict[str, Any]) -> Attention | None:
    state, latest = model_state(model), model["latest_build"]
    base = url("projects", model["project"]["id"], "models", model["id"])
    name, place = model["name"], model["project"]["name"]
    if state.tone in _WORST:
        failure = model["failure"] if state.label == "Failed" else None
        if latest is not None and not model["status"]:
            failure = latest["failure"]
        text = _reason(failure) if failure else state.sentence
        return Attention(name, base, state.label, state.tone, text, place)
    if latest is None or latest["build_number"] == model["current_build_number"]:
        return None
    if latest["status"] in ("build failed", "timedout") and not latest["cancelled_by"]:
        path = f"{base}/builds/{latest['id']}"
        label = f"Build {latest['build_number']} failed"
        return Attention(name, path, label, "warn", _reason(latest["failure"]), place)
    if latest["status"] in ("pending", "queued", "building"):
        path, label = f"{base}/builds/{latest['id']}", f"Building {latest['build_number']}"
        return Attention(name, path, label, "busy", state.sentence, place)
    return None


def _reason(failure: dict[str, Any] | None) -> str:
    if failure is None:
        return ""
    return ": ".join(filter(None, (failure["summary"], failure["problem"])))


def counts(models: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many models are in each state, the most frequent first."""
    return Counter(model_state(model).label for model in models).most_common()


def own_entries(entries: Sequence[dict[str, Any]]) -> list[OwnEntry]:
    """The entries that a user wants to see again, the newest first."""
    return [_shown(each) for each in reversed(entries) if each["action"] not in _NO_ACTIVITY]


def _shown(entry: dict[str, Any]) -> OwnEntry:
    # The last notes name the object: `by session; name, file_path; project iris; petals`.
    notes = entry["detail"].split("; ")
    name = "" if notes[-1].startswith("by ") else notes[-1]
    if len(notes) > 1 and notes[-2].startswith("project "):
        name = f"{name} ({notes[-2]})"
    found = _PAGE.match(entry["object"])
    gone = entry["action"].endswith(".delete") and entry["outcome"] == "done"
    path = found[0] if found and not gone else ""
    return OwnEntry(
        entry["number"],
        entry["created_at"],
        entry["action"],
        entry["outcome"],
        # A refusal names its object by the address alone.
        name[:_LONGEST] or (_kind(path) if path else entry["object"]),
        path,
    )


def _kind(path: str) -> str:
    """What the page of an object is of: "model" for /projects/P/models/M."""
    return path.split("/")[-2].removesuffix("s")
