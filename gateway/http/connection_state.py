"""The states of a connection that serves calls, and the changes between them.

IDLE       between two requests
HEAD       a part of a head has come
BODY       a head and a part of its body have come
WAITING    the prediction is under way
SENDING    the client has not read all of the response
LINGERING  the last response is sent; what still comes is dropped
CLOSED     closed, or detached to the other server

The connection assigns its state directly, for this is the hot path. Tests hold each assignment to
the table.
"""

from enum import Enum, auto


class ConnectionState(Enum):
    # Looked up for each request, and Enum's own hash is slow.
    __hash__ = object.__hash__

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    WAITING = auto()
    SENDING = auto()
    LINGERING = auto()
    CLOSED = auto()


# By these names they cost a fifth of what looking them up on the class costs.
IDLE, HEAD, BODY, WAITING, SENDING, LINGERING, CLOSED = ConnectionState
READING = (IDLE, HEAD, BODY)

# A request that needs no model and is answered at once leads from IDLE or HEAD to IDLE.
TRANSITIONS: dict[ConnectionState, frozenset[ConnectionState]] = {
    IDLE: frozenset({HEAD, BODY, WAITING, SENDING, LINGERING, CLOSED}),
    HEAD: frozenset({IDLE, BODY, WAITING, SENDING, LINGERING, CLOSED}),
    BODY: frozenset({WAITING, SENDING, LINGERING, CLOSED}),
    WAITING: frozenset({IDLE, SENDING, LINGERING, CLOSED}),
    SENDING: frozenset({IDLE, LINGERING, CLOSED}),
    LINGERING: frozenset({CLOSED}),
    CLOSED: frozenset(),
}
