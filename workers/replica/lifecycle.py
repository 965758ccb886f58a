"""The life of a replica, as a table.

STARTING   its process is being made, or runs the model file
IDLE       ready, waiting for a ticket
BUSY       has one ticket
DRAINING   has one ticket and accepts no other
STOPPING   asked to end, or killed; has no ticket
GONE       its process has ended

An event that a state does not list is a defect of ours: it raises and changes nothing.
"""

from enum import Enum

from workers.errors import IllegalTransition


class State(Enum):
    # Looked up twice for each prediction; Enum's own hash is slow.
    __hash__ = object.__hash__

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPING = "stopping"
    GONE = "gone"


class Event(Enum):
    __hash__ = object.__hash__

    READY = "ready"
    ASSIGNED = "assigned"
    ANSWERED = "answered"
    STOP = "stop"
    KILL = "kill"
    EXITED = "exited"


# A lookup by these names costs a fifth of a lookup on the class.
STARTING, IDLE, BUSY, DRAINING, STOPPING, GONE = State
READY, ASSIGNED, ANSWERED, STOP, KILL, EXITED = Event

TABLE: dict[State, dict[Event, State]] = {
    STARTING: {
        READY: IDLE,
        STOP: STOPPING,
        KILL: STOPPING,
        EXITED: GONE,
    },
    IDLE: {
        ASSIGNED: BUSY,
        STOP: STOPPING,
        KILL: STOPPING,
        EXITED: GONE,
    },
    BUSY: {
        ANSWERED: IDLE,
        STOP: DRAINING,
        KILL: STOPPING,
        EXITED: GONE,
    },
    DRAINING: {
        ANSWERED: STOPPING,
        STOP: DRAINING,
        KILL: STOPPING,
        EXITED: GONE,
    },
    STOPPING: {
        STOP: STOPPING,
        KILL: STOPPING,
        EXITED: GONE,
    },
    GONE: {},
}


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises IllegalTransition where the table has no such move."""
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalTransition(f"{state.value} does not know {event.value}") from None


class StopReason(Enum):
    """Why the gateway ended a replica."""

    STOPPED = "it was stopped"
    TIMED_OUT = "a prediction exceeded its time limit"
    FAILED = "its model file failed"
    RAISED = "its function raised"
    START_TIMED_OUT = "it was not ready in time"
    WIRE = "it broke the protocol with the gateway"
    LIMIT = "it exceeded a limit"
    MAX_REQUESTS = "it had served its maximum number of requests"
    MEMORY_GROWTH = "it had grown above its recycling memory"
