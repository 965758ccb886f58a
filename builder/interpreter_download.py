"""Downloads an interpreter that this machine does not have, by uv.

uv knows the builds of CPython that can be moved to any folder (python-build-standalone) and the
hash of each, and verifies what it gets. Where it gets them from is uv's own setting,
`UV_PYTHON_INSTALL_MIRROR`, for networks without access to the usual place.
"""

import re
from functools import partial
from pathlib import Path

import trio
from uv import find_uv_bin

from builder.errors import InterpreterUnavailable
from builder.git.git_store import SYSTEM_PATH
from builder.log_tail import LogTail
from builder.spec import Log, Run

MIRROR = "UV_PYTHON_INSTALL_MIRROR"
_VERSION = re.compile(r"(?:python\s*)?(3\.\d{1,2})", re.IGNORECASE)


def version_in(kernel: str) -> str:
    """The version that a kernel name contains, such as `3.12`; "" if it contains none."""
    match = _VERSION.fullmatch(kernel.strip())
    return match.group(1) if match else ""


async def download_interpreter(
    version: str, folder: Path, *, run: Run, log: Log, mirror: str, time_limit: float
) -> None:
    """Put the newest CPython of this version into a folder below `folder`, which need not exist.

    A folder that is there is complete: uv renames it last. `mirror` may be "". Raises
    InterpreterUnavailable, or TimeoutError after `time_limit` seconds.
    """
    tail = LogTail(log)
    await trio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
    variables = {
        "PATH": SYSTEM_PATH,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "UV_NO_CONFIG": "1",
        "UV_NO_CACHE": "1",
        "UV_SYSTEM_CERTS": "1",
        "UV_PYTHON_INSTALL_DIR": str(folder),
        "UV_PYTHON_INSTALL_BIN": "0",
        "NO_COLOR": "1",
    }
    status = await run(
        [find_uv_bin(), "python", "install", version],
        cwd=folder,
        variables=variables | ({MIRROR: mirror} if mirror else {}),
        log=tail,
        time_limit=time_limit,
    )
    if status != 0:
        lines = [line.strip().removeprefix("error: ") for line in tail.lines if line.strip()]
        raise InterpreterUnavailable(version, "; ".join(lines[-3:]) or f"uv ended with {status}")
