"""The time-outs of HTTP, in seconds, for both servers.

They are no settings: an operator has no reason to change them. Tests pass shorter ones.
"""

import msgspec


class HttpTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """One record for all connections of a gateway."""

    # The TLS handshake of a new connection.
    handshake: float = 10.0
    # A whole head, from its first byte.
    head: float = 10.0
    # The whole body of a call, from its head.
    call_body: float = 30.0
    # Two reads of any other body: an upload takes as long as it continues.
    body_gap: float = 30.0
    # The client reads all of a response (of Hypercorn's: all of one write).
    send: float = 30.0
    # From one response to the first byte of the next request.
    idle: float = 75.0
    # After the last response, what the client still sends is read and dropped (gotcha G4).
    linger: float = 2.0
    # While the gateway stops: for the first request of a connection, and for a later one.
    first_request: float = 1.0
    next_request: float = 0.1
    # Accepting is paused when descriptors or kernel memory run out.
    accept_pause: float = 0.1
