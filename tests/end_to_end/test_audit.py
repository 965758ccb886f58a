"""The audit log, after the gateway was killed during the changes."""

import signal
import threading

from gateway.client import ClientError
from tests.faults.matrix import fault
from tests.support.served_gateway import Gateway


@fault(
    "kill -9 while changes are entered",
    injection="keys made by four at once",
    bound="each has its one entry",
)
def test_changes_and_their_entries_outlive_a_kill_together(gateway: Gateway) -> None:
    """Killed while keys are made, there is an entry for each key and a key for each entry."""
    acknowledged: list[str] = []
    enough = threading.Event()

    def make() -> None:
        with gateway.new_client() as client:
            try:
                while True:
                    acknowledged.append(client.post("/users/admin/model_keys")["key_id"])
                    if len(acknowledged) >= 60:
                        enough.set()
            except ClientError:
                return  # the gateway was killed

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    gateway.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    gateway.start()
    keys = {key["key_id"] for key in gateway.client.listing("/users/admin/model_keys")}
    entries = gateway.cli("audit", "--json", "--action", "key.create", "--most", "9999").json
    told = [each["object"].rpartition("/")[2] for each in entries["entries"]]
    assert sorted(told) == sorted(keys)
    assert set(acknowledged) <= keys
