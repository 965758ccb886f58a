"""How a status looks: its tone, and one sentence of what is going on. Pure."""

from typing import Any, Literal, NamedTuple

Tone = Literal["good", "busy", "warn", "bad", "quiet"]
_TONES: dict[str, Tone] = {
    **dict.fromkeys(("deployed", "built", "succeeded", "success", "running", "ready"), "good"),
    **dict.fromkeys(("pending", "building", "deploying", "stopping", "rebuilding"), "busy"),
    **dict.fromkeys(("queued", "preparing", "creating", "starting"), "busy"),
    **dict.fromkeys(("failed", "crashed", "error", "build failed", "timedout"), "bad"),
}
UNFINISHED_BUILD = ("pending", "queued", "building", "pushing")


class Badge(NamedTuple):
    """What a badge shows, and the sentence beside it."""

    label: str
    tone: Tone
    sentence: str = ""


def state_of(status: str) -> Badge:
    """The badge of a build, a deployment or an experiment."""
    return Badge(status.capitalize(), _TONES.get(status, "quiet"))


def build_state(build: dict[str, Any]) -> Badge:
    """The badge of a build, as the API shows it."""
    if build["cancelled_by"]:
        return Badge("Cancelled", "quiet", f"by {build['cancelled_by']}")
    label, tone, _ = state_of(build["status"])
    labels = {"timedout": "Timed out"}
    return Badge(labels.get(build["status"], label), tone)


def model_state(model: dict[str, Any]) -> Badge:
    """The badge of a model, as the API shows it, with its replicas and its build."""
    status = model["status"]
    if not status:
        return _undeployed_state(model["latest_build"])
    ready, wanted = model["replicas_ready"], model["replicas_wanted"]
    build = f"build {model['current_build_number']}"
    label, tone, _ = state_of(status)
    if status != "deployed":
        return Badge(label, tone, build)
    sentence = f"{ready} of {wanted} replicas ready, {build}"
    if ready == 0:
        return Badge(label, "bad", sentence)
    return Badge(label, "good" if ready >= wanted else "warn", sentence)


def _undeployed_state(build: dict[str, Any] | None) -> Badge:
    if build is None:
        return Badge("Not deployed", "quiet", "no build is deployed")
    sentence = f"build {build['build_number']}"
    if build["status"] in UNFINISHED_BUILD:
        return Badge("Building", "busy", sentence)
    if build["status"] == "built" or build["cancelled_by"]:
        return Badge("Not deployed", "quiet", "no build is deployed")
    return Badge("Build failed", "bad", sentence)
