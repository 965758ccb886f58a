"""A script of a build runs in a copy of its own; what it keeps stays, all else goes."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.faults.matrix import fault
from tests.support.skipping import not_here
from workers import ConfinementUnavailable, ExperimentSpec, Limits, Workers, open_workers
from workers.confinement import open_confinement
from workers.limits import Cause
from workers.process.process import marked
from workers.sizes import MIB

PATIENCE = 30.0
SCRIPT = """\
import json
import os
from pathlib import Path

kept = Path(os.environ["KEPT"])
(kept / "folder").mkdir()
_ = (kept / "folder" / "file").write_text("kept")
(kept / "link").symlink_to("/etc/passwd")
_ = Path("made").write_text("gone with the copy")
print(json.dumps([sys.argv, os.getcwd(), os.environ["HOME"], open("data").read()]))
_ = open(os.environ["SEALED"] + "/data", "w").write("spoilt")
"""


class Lines(list[str]):
    """A log that is a list."""

    def write(self, line: str) -> None:
        self.append(line)


@pytest.fixture(params=["none", "landlock", "users"])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    """Workers of each level that root, or the user of the tests, can have here."""
    # Who is confined has to come by: pytest's own folders are closed.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    instance_id = f"experiment-{tmp_path.name}"
    try:
        confinement = open_confinement(request.param, tmp_path / "data" / "confinement")
        async with open_workers(
            tmp_path / "data" / "replicas", instance_id, confinement=confinement
        ) as workers:
            yield workers
    except ConfinementUnavailable as error:
        not_here(str(error))
    assert marked(f"{instance_id}/") == []


def spec_of(tmp_path: Path, script: str, **more: object) -> ExperimentSpec:
    """A run of a script that lies in a sealed folder beside some data."""
    data = tmp_path / "data"
    sealed, environment = data / "sealed", data / "environment"
    sealed.mkdir(parents=True)
    (sealed / "script.py").write_text(script)
    (sealed / "data").write_text("sealed")
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    folder = data / "experiments" / "one"
    variables = {"KEPT": str(folder / "kept"), "SEALED": str(sealed)}
    return ExperimentSpec(
        code=sealed,
        environment=environment,
        prefix=Path(sys.base_prefix),
        script="script.py",
        folder=folder,
        kept=(folder / "kept",),
        variables=variables,
        **more,  # type: ignore[arg-type]
    )


async def test_script_keeps_plain_files_of_its_copy(workers: Workers, tmp_path: Path) -> None:
    """A script works in a copy that is removed afterwards; of its results plain files stay, owned
    by us. Confined, it cannot change what it was copied from."""
    spec, log = spec_of(tmp_path, SCRIPT, arguments=("a", "-b")), Lines()
    with trio.fail_after(PATIENCE):
        ended = await workers.run_experiment(spec, log)
    confined = workers.confinement.level != "none"
    assert ended.status == (1 if confined else 0), log
    assert (spec.code / "data").read_text() == ("sealed" if confined else "spoilt")
    home = "/home/cdsw" if workers.confinement.level == "users" else f"{spec.folder}/work/code"
    assert log[0] == f'[["script.py", "a", "-b"], "{home}", "{home}", "sealed"]'
    found = sorted(str(path.relative_to(spec.folder)) for path in spec.folder.rglob("*"))
    assert found == ["kept", "kept/folder", "kept/folder/file"]
    assert {path.stat().st_uid for path in spec.folder.rglob("*")} == {os.geteuid()}


async def test_cancelled_run_leaves_nothing(workers: Workers, tmp_path: Path) -> None:
    """A cancelled run has neither process nor copy when its caller continues."""
    script = "import subprocess, time\nprint('begun')\n_ = subprocess.run(['sleep', '1000'])"
    spec, log = spec_of(tmp_path, script), Lines()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run_experiment, spec, log)
            while not log:  # noqa: ASYNC110 - the output thread makes it true
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert marked(f"experiment-{tmp_path.name}/") == []
    assert [path.name for path in spec.folder.iterdir()] == ["kept"]


@pytest.mark.parametrize("workers", ["none"], indirect=True)
async def test_out_of_memory(workers: Workers, tmp_path: Path) -> None:
    """A script that takes more than its memory is ended, and the limit is named."""
    limits = Limits(memory=128 * MIB)
    spec, log = spec_of(tmp_path, "held = bytearray(2**30)\nprint('done')", limits=limits), Lines()
    if "memory" not in workers.cgroups.enforced:
        not_here("needs cgroups for memory, which we may not use here")
    with trio.fail_after(PATIENCE):
        ended = await workers.run_experiment(spec, log)
    assert ended.reason.cause is Cause.MEMORY
    assert log[-1] == "[predictd] the script ran out of memory: its limit is 128 MiB"


@fault(
    "what a script keeps, nested by the thousand",
    injection="3000 folders",
    bound="it is not kept",
)
@pytest.mark.parametrize("workers", ["none"], indirect=True)
async def test_folders_nested_too_deep_are_not_kept(workers: Workers, tmp_path: Path) -> None:
    """Folders that a script nests by the thousand are not kept; its log says so."""
    script = """\
import os
os.chdir(os.environ["KEPT"])
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
"""
    spec, log = spec_of(tmp_path, script), Lines()
    with trio.fail_after(PATIENCE):
        ended = await workers.run_experiment(spec, log)
    [line] = log
    assert ended.status == 0
    assert line == "[predictd] what is in kept is not kept: its folders lie too deep"
    assert list(spec.folder.iterdir()) == []
