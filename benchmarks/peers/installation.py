"""A peer's own virtualenv, made once from its pinned requirements and kept in the cache.

The folder's name has a hash of the requirements and of the interpreter, so a change of either makes
another folder. A file that is written last marks a complete installation; a folder without it is
deleted and made again. A lock separates two harnesses that share a cache.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

from benchmarks.peers.failure import PeerFailed

_WHOLE = "installed"


def installed(peer: str, requirements: Path, cache: Path) -> Path:
    """The virtualenv with these requirements; pip's progress goes to stderr."""
    cache.mkdir(parents=True, exist_ok=True)
    identity = requirements.read_bytes() + sys.version.encode()
    environment = cache / f"{requirements.parent.name}-{hashlib.sha256(identity).hexdigest()[:12]}"
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / _WHOLE).exists():
            shutil.rmtree(environment, ignore_errors=True)
            _run(peer, [sys.executable, "-m", "virtualenv", "--no-download", str(environment)])
            pip = [str(environment / "bin/python"), "-m", "pip", "--no-input"]
            quietly = ["--progress-bar", "off", "--disable-pip-version-check"]
            _run(peer, [*pip, "install", *quietly, "-r", str(requirements)])
            (environment / _WHOLE).touch()
    return environment


def _run(peer: str, command: list[str]) -> None:
    last: deque[str] = deque(maxlen=20)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{peer}: {line.rstrip()}", file=sys.stderr, flush=True)
            last.append(line)
    if process.returncode != 0:
        raise PeerFailed(peer, f"did not install: `{' '.join(command)}` failed", last)
