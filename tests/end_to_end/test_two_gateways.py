"""A second gateway where there is one: it says so and leaves the first one alone."""

from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.matrix import fault
from tests.support.served_gateway import Gateway, Prober, predictd, write

ECHO = {"echo.py": "def echo(args):\n    return args\n"}


@fault(
    "a second gateway",
    injection="the same folder, the same port, both",
    bound="refused by name; the first serves on",
)
def test_second_gateway_is_refused(gateway: Gateway, tmp_path: Path) -> None:
    """On the same folder it is refused with the first one's process id, on the same port with the
    port, with exit code 1; the first one continues to serve with its replicas, and is found."""
    model = gateway.serve(write(tmp_path / "project", ECHO), "echo.py", "echo")
    processes, told = gateway.processes(), (gateway.data / "gateway.json").read_bytes()
    port = urlsplit(gateway.url).port
    with Prober(gateway, [model], {}).running(pause=0.01):
        for _ in range(2):
            same = predictd("serve", "--data", gateway.data, "--port", 0)
            assert (same.code, f"{gateway.pid}" in same.err) == (1, True), same.err
            other = predictd("serve", "--data", tmp_path / "other", "--port", port)
            assert (other.code, f"127.0.0.1:{port}" in other.err) == (1, True), other.err
            both = predictd("serve", "--data", gateway.data, "--port", port)
            assert (both.code, f"{gateway.pid}" in both.err) == (1, True), both.err
    assert gateway.processes() == processes
    assert (gateway.data / "gateway.json").read_bytes() == told
    assert not (tmp_path / "other" / "predictd.db").exists()
