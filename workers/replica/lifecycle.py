"""The life of a replica, as a table.

STARTING   its process is being made, or runs the model file
IDLE       ready, waiting for a ticket
BUSY       holds one ticket
DRAINING   holds one ticket and takes no other
STOPPING   told to end, or killed; holds no ticket
GONE       its process has ended

An event that a state does not list is a mistake of ours: it raises and changes nothing.
"""

from enum import Enum

from workers.errors import IllegalTransition


class State(Enum):
    # Looked up twice for each prediction, and Enum's own hash is slow.
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


# By these names they cost a fifth of what looking them up on the class costs.
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
