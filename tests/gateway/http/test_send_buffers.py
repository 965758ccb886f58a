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
    untaken = SendBufferLimit(100)
    clients = [Client("a") for _ in range(4)]
    for client in clients:
        untaken.charge(client, 40)
    assert [client.gone for client in clients] == [True, True, False, False]
    assert untaken.held == 80


def test_who_holds_little_is_spared() -> None:
    """The client that holds most loses, although another has waited for longer."""
    untaken = SendBufferLimit(100)
    modest, greedy = Client("modest"), [Client("greedy") for _ in range(5)]
    untaken.charge(modest, 30)
    for client in greedy:
        untaken.charge(client, 35)
    assert not modest.gone
    assert [client.gone for client in greedy] == [True, True, True, False, False]


def test_one_answer_may_be_larger_than_all() -> None:
    """An answer that is written now is never let go for its size."""
    untaken = SendBufferLimit(100)
    large, small = Client("a"), Client("a")
    untaken.charge(large, 150)
    assert not large.gone
    untaken.charge(small, 1)
    assert large.gone
    assert not small.gone
    assert untaken.held == 1


def test_what_was_taken_counts_no_more() -> None:
    """All bytes are given back, of whoever took them and of whoever is gone."""
    untaken = SendBufferLimit(100)
    client = Client("a")
    untaken.charge(client, 30)
    untaken.charge(client, 30)
    untaken.release(client)
    untaken.release(client)
    assert untaken.held == 0
