"""Models of each language are started by one table, and served at each level of isolation."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.support.other_user import run_as
from tests.support.r import r_prefix
from tests.support.skipping import not_here
from workers import Answered, PoolSpec, ReplicaSpec, open_workers
from workers.confinement import ConfinementUnavailable, open_confinement

MODEL = """
library(labelled.one)
told <- function(args) list(sum = args$a + args$b, text = label(), home = getwd())
"""
LEVELS = ["users", "userns", "landlock", "none"]


ORDINARY = 12345


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the build of a model of R, whose library has a package that it loads."""
    source = tmp_path / "labelled.one"
    (source / "R").mkdir(parents=True)
    (source / "DESCRIPTION").write_text(
        "Package: labelled.one\nVersion: 1.0\nTitle: One\nDescription: One.\nLicense: none\n"
        "Author: us\nMaintainer: us <us@example.org>\n"
    )
    (source / "NAMESPACE").write_text("export(label)\n")
    (source / "R" / "label.R").write_text('label <- function() "of the build"\n')
    data = tmp_path / "data"
    library = data / "environment" / "library"
    library.mkdir(parents=True)
    program = str(r_prefix() / "bin" / "R")
    subprocess.run(
        [program, "CMD", "INSTALL", f"--library={library}", str(source)],
        capture_output=True,
        check=True,
    )
    (data / "code").mkdir()
    (data / "code" / "model.R").write_text(MODEL)
    return data


@pytest.mark.parametrize("level", LEVELS)
def test_model_of_r_is_served_at_each_level(data: Path, level: str) -> None:
    """A model of R reads its home, the packages of its build and R's own, and answers."""
    prefix = r_prefix()
    # Who is confined has to come by: pytest's own folders are closed.
    top = Path(tempfile.gettempdir())
    for folder in (data.parent, *data.parent.parents):
        if top in folder.parents:
            folder.chmod(0o755)
    told: Any
    if level == "userns":
        # Root has no use for this level.
        for folder in (data, data.parent):
            os.chown(folder, ORDINARY, ORDINARY)
        told = run_as(ORDINARY, lambda: trio.run(answer_of, data, level, prefix))
    else:
        told = trio.run(answer_of, data, level, prefix)
    if isinstance(told, str) and told.startswith("not here"):
        not_here(told)
    assert isinstance(told, dict), told
    assert (told["sum"], told["text"]) == (8, "of the build")


async def answer_of(data: Path, level: str, prefix: Path) -> object:
    """What the model answers, or why it does not."""
    try:
        confinement = open_confinement(level, data / "confinement")
    except ConfinementUnavailable as why:
        return f"not here: {why}"
    replica = ReplicaSpec(
        code=data / "code",
        environment=data / "environment",
        prefix=prefix,
        language="r",
        file="model.R",
        function="told",
        identity=1,
    )
    spec = PoolSpec(name="told", replica=replica, log_folder=data / "logs", start_tries=1)
    folder = data / "replicas"
    async with open_workers(folder, f"r-{level}", confinement=confinement) as workers:
        pool = workers.open_pool(spec)
        with trio.fail_after(30):
            await pool.wait_ready()
            outcome = await pool.predict(b'{"a":3,"b":5}')
        if not isinstance(outcome, Answered):
            return f"{outcome}: {[line.text for line in pool.tail(20)]}"
        answer: object = msgspec.json.decode(outcome.body)
        return answer
