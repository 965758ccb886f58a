"""Protocols that the gateway does not speak."""

import subprocess
import sys


def test_unused_protocols_are_not_loaded() -> None:
    """A gateway loads neither HTTP/2 nor a second server."""
    script = """
import sys
from gateway.http.hypercorn.stub_imports import stub_unused_protocols
stub_unused_protocols()
import gateway.serving
print(*{"h2.connection", "hpack", "hypercorn.asyncio.run"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
