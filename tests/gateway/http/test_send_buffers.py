"""Unsent bytes are bounded, and clients that hold most are disconnected first."""

from gateway.http.send_buffers import SendBufferLimit


class Client:
    """A transport and its connection in one."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.connection = self
        self.gone = False

    def close(self) -> None:
        self.gone = True


def test_oldest_connection_is_closed_first() -> None:
    """Of one client the oldest, and no more of them than needed."""
    buffers = SendBufferLimit(100)
    clients = [Client("a") for _ in range(4)]
    for client in clients:
        buffers.charge(client, 40)
    assert [client.gone for client in clients] == [True, True, False, False]
    assert buffers.unsent == 80


def test_client_that_holds_most_loses() -> None:
    """Although another client has waited for longer."""
    buffers = SendBufferLimit(100)
    modest, greedy = Client("modest"), [Client("greedy") for _ in range(5)]
    buffers.charge(modest, 30)
    for client in greedy:
        buffers.charge(client, 35)
    assert not modest.gone
    assert [client.gone for client in greedy] == [True, True, True, False, False]


def test_response_may_exceed_the_limit() -> None:
    """The response that is written now is never closed for its size."""
    buffers = SendBufferLimit(100)
    large, small = Client("a"), Client("a")
    buffers.charge(large, 150)
    assert not large.gone
    buffers.charge(small, 1)
    assert large.gone
    assert not small.gone
    assert buffers.unsent == 1


def test_release_frees_all_bytes() -> None:
    """Of clients that have read them and of clients that are gone."""
    buffers = SendBufferLimit(100)
    client = Client("a")
    buffers.charge(client, 30)
    buffers.charge(client, 30)
    buffers.release(client)
    buffers.release(client)
    assert buffers.unsent == 0
