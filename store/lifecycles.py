"""The lifecycles of builds, deployments, experiments and runtimes, as tables:
`state -> event -> state`.

The status of a record changes by an event and in no other way. A state without events is final. The
README has the same tables; a test compares the two.

Law: an event that a state does not list raises `IllegalTransition` and changes nothing.
"""

from collections.abc import Mapping

from msgspec import Struct

from store.errors import IllegalTransition


class Lifecycle(Struct, frozen=True):
    """The table of one noun."""

    noun: str
    moves: Mapping[str, Mapping[str, str]]


BUILD = Lifecycle(
    "build",
    {
        "pending": {
            "snapshotted": "queued",
            "failed": "build failed",
            "cancelled": "build failed",
        },
        "queued": {
            "started": "building",
            "failed": "build failed",
            "cancelled": "build failed",
        },
        "building": {
            "built": "built",
            "failed": "build failed",
            "timed_out": "timedout",
            "interrupted": "build failed",
            "cancelled": "build failed",
        },
        "built": {},
        "build failed": {},
        "timedout": {},
    },
)

DEPLOYMENT = Lifecycle(
    "deployment",
    {
        "pending": {"started": "deploying", "failed": "failed", "stop": "stopped"},
        "deploying": {"ready": "deployed", "failed": "failed", "stop": "stopping"},
        # Its build cannot be rebuilt: the interpreter is missing.
        "deployed": {"failed": "failed", "stop": "stopping"},
        "stopping": {"stopped": "stopped"},
        "stopped": {},
        "failed": {},
    },
)

EXPERIMENT = Lifecycle(
    "experiment",
    {
        "queued": {"started": "running", "failed": "failed", "stop": "stopped"},
        "running": {
            "succeeded": "succeeded",
            "failed": "failed",
            "interrupted": "failed",
            "stop": "stopped",
        },
        "succeeded": {},
        "failed": {},
        "stopped": {},
    },
)

RUNTIME = Lifecycle(
    "runtime",
    {
        "building": {"made": "ready", "failed": "failed"},
        "ready": {},
        "failed": {},
    },
)


def advance(lifecycle: Lifecycle, state: str, event: str) -> str:
    """Return the state that `event` leads to from `state`."""
    try:
        return lifecycle.moves[state][event]
    except KeyError:
        raise IllegalTransition(lifecycle.noun, state, event) from None


def states_allowing(lifecycle: Lifecycle, event: str) -> list[str]:
    """Return the states in which `event` can happen, in the table's order."""
    return [state for state, events in lifecycle.moves.items() if event in events]


def unfinished_states(lifecycle: Lifecycle) -> list[str]:
    """Return the states that something can still happen to, in the table's order."""
    return [state for state, events in lifecycle.moves.items() if events]
