"""What wrk is told, and what is read from what it prints."""

import pytest

from benchmarks.load import wrk
from benchmarks.load.python import LoadFailed
from benchmarks.load.spec import Target

PRINTED = """\
Running 1s test @ http://127.0.0.1:8080/model
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.21ms  310.00us   4.10ms   70.00%
    Req/Sec    13.10k     1.02k   14.90k    66.00%
  26200 requests in 2.00s, 4.10MB read
Requests/sec:  13100.00
Transfer/sec:      2.05MB
measured {"requests": 26200, "microseconds": 2000000, "failed": 3, "p50_us": 1190, \
"p90_us": 1500, "p99_us": 2400, "p999_us": 3900, "max_us": 4100}
"""


def test_the_figures_are_read() -> None:
    """Whole microseconds from the line that our script prints, and the rate from its counts."""
    assert wrk.parsed(PRINTED) == {
        "requests_per_second": 13100.0,
        "requests": 26200,
        "failed": 3,
        "p50_us": 1190,
        "p90_us": 1500,
        "p99_us": 2400,
        "p999_us": 3900,
        "max_us": 4100,
    }


def test_no_figures() -> None:
    """What it said instead is the error."""
    with pytest.raises(LoadFailed, match="unable to connect"):
        wrk.parsed("unable to connect to 127.0.0.1:1 Connection refused")


def test_any_bytes_can_be_sent() -> None:
    """No byte of a body or header can end the Lua string that carries it."""
    target = Target(host="h", port=1, body=b'"]]\\\n\0', headers={"X-A": '"'})
    script = wrk.script(target)
    assert r'wrk.body = "\034\093\093\092\010\000"' in script
    assert r'wrk.headers["\088\045\065"] = "\034"' in script
    assert 'wrk.method = "POST"' in script


def test_without_a_body_it_is_a_get() -> None:
    """As our own generator has it."""
    target = Target(host="h", port=1, path="/livez")
    assert 'wrk.method = "GET"' in wrk.script(target)
    assert target.request().startswith(b"GET /livez HTTP/1.1\r\nHost: h:1\r\n\r\n")
