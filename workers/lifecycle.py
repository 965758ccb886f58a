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
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    STOPPING = "stopping"
    GONE = "gone"


class Event(Enum):
    READY = "ready"
    ASSIGNED = "assigned"
    ANSWERED = "answered"
    STOP = "stop"
    KILL = "kill"
    EXITED = "exited"


TABLE: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.READY: State.IDLE,
        Event.STOP: State.STOPPING,
        Event.KILL: State.STOPPING,
        Event.EXITED: State.GONE,
    },
    State.IDLE: {
        Event.ASSIGNED: State.BUSY,
        Event.STOP: State.STOPPING,
        Event.KILL: State.STOPPING,
        Event.EXITED: State.GONE,
    },
    State.BUSY: {
        Event.ANSWERED: State.IDLE,
        Event.STOP: State.DRAINING,
        Event.KILL: State.STOPPING,
        Event.EXITED: State.GONE,
    },
    State.DRAINING: {
        Event.ANSWERED: State.STOPPING,
        Event.STOP: State.DRAINING,
        Event.KILL: State.STOPPING,
        Event.EXITED: State.GONE,
    },
    State.STOPPING: {
        Event.STOP: State.STOPPING,
        Event.KILL: State.STOPPING,
        Event.EXITED: State.GONE,
    },
    State.GONE: {},
}


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises IllegalTransition where the table has no such move."""
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalTransition(f"{state.value} does not know {event.value}") from None
