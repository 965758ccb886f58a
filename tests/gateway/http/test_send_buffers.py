"""What clients have not taken has a bound in bytes, and those pay for it who hold most."""

from gateway.http.send_buffers import SendBufferLimit


class Client:
    """A line and its connection in one."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.connection = self
        self.gone = False

    def close(self) -> None:
        self.gone = True


def test_who_waits_longest_goes_first() -> None:
    """Of one client the oldest goes, and no more of them than needed."""
    buffers = SendBufferLimit(100)
    clients = [Client("a") for _ in range(4)]
    for client in clients:
        buffers.charge(client, 40)
    assert [client.gone for client in clients] == [True, True, False, False]
    assert buffers.unsent == 80


def test_who_holds_little_is_spared() -> None:
    """The client that holds most loses, although another has waited for longer."""
    buffers = SendBufferLimit(100)
    modest, greedy = Client("modest"), [Client("greedy") for _ in range(5)]
    buffers.charge(modest, 30)
    for client in greedy:
        buffers.charge(client, 35)
    assert not modest.gone
    assert [client.gone for client in greedy] == [True, True, True, False, False]


def test_one_answer_may_be_larger_than_all() -> None:
    """An answer that is written now is never let go for its size."""
    buffers = SendBufferLimit(100)
    large, small = Client("a"), Client("a")
    buffers.charge(large, 150)
    assert not large.gone
    buffers.charge(small, 1)
    assert large.gone
    assert not small.gone
    assert buffers.unsent == 1


def test_what_was_taken_counts_no_more() -> None:
    """All bytes are given back, of whoever took them and of whoever is gone."""
    buffers = SendBufferLimit(100)
    client = Client("a")
    buffers.charge(client, 30)
    buffers.charge(client, 30)
    buffers.release(client)
    buffers.release(client)
    assert buffers.unsent == 0
