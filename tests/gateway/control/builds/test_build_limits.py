"""Build scripts have limits of their own, and a build that meets one says which."""

from pathlib import Path

import pytest

from tests.support.gateway import Gateway, copy_of, ended_build

WRITES = "for each in 1 2; do head -c 40M /dev/zero > {where}/$each; done; sleep 600\n"
# bash would try each fork again for 15 s.
FORKS = """exec python -c 'import os, time
for _ in range(100):
    os.fork() or time.sleep(600)'
"""


@pytest.mark.parametrize(
    ("settings", "script", "problem", "advice"),
    [
        (
            {"build_memory": "64MiB"},
            """exec python -c 'held = b"x" * (200 << 20); import time; time.sleep(600)'\n""",
            "it ran out of memory: its limit is 64 MiB",
            "build_memory",
        ),
        (
            {"build_processes": 50},
            FORKS,
            "its limit of 50 processes and threads was reached",
            "build_processes",
        ),
        (
            {"build_disk": "60MiB"},
            WRITES.format(where="."),
            "it was ended because it had written more than 60 MiB to disk",
            "build_disk",
        ),
        (
            {"build_disk": "60MiB"},
            WRITES.format(where="$PIP_CACHE_DIR"),
            "it was ended because it had written more than 60 MiB to disk",
            "build_disk",
        ),
        (
            {"build_disk": "60MiB"},
            "dd if=/dev/zero of=big bs=1M count=100 && exit 0; exit 1\n",
            "File size limit exceeded",
            "build_disk",
        ),
    ],
)
async def test_build_that_meets_a_limit_names_it(
    gateway: Gateway,
    tmp_path: Path,
    settings: dict[str, object],
    script: str,
    problem: str,
    advice: str,
) -> None:
    """The failure names the limit, and the setting that raises it."""
    await gateway.admin.patch("/site/settings", json=settings)
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text(script)
    build = await gateway.build(await gateway.model(await gateway.project(project)), "add.py:add")
    failure = (await gateway.until(build, ended_build))["failure"]
    assert failure["step"] == "BUILD_SCRIPT"
    assert problem in failure["problem"]
    assert advice in failure["advice"]
