"""Models of each language are started by one table, and served at each level of isolation."""

from pathlib import Path

import msgspec
import pytest
import trio

from tests.support.r import r_prefix
from tests.support.skipping import not_here
from workers import Answered, PoolSpec, ReplicaSpec, open_workers
from workers.confinement import ConfinementUnavailable, open_confinement

MODEL = """
library(labelled.one)
told <- function(args) list(sum = args$a + args$b, text = label(), home = getwd())
"""
LEVELS = ["users", "userns", "landlock", "none"]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The environment of a build of R, whose library has a package that the model loads."""
    source = tmp_path / "labelled.one"
    (source / "R").mkdir(parents=True)
    (source / "DESCRIPTION").write_text(
        "Package: labelled.one\nVersion: 1.0\nTitle: One\nDescription: One.\nLicense: none\n"
        "Author: us\nMaintainer: us <us@example.org>\n"
    )
    (source / "NAMESPACE").write_text("export(label)\n")
    (source / "R" / "label.R").write_text('label <- function() "of the build"\n')
    made = tmp_path / "data" / "environment"
    (made / "library").mkdir(parents=True)
    (made / "bin").mkdir()
    return made


@pytest.mark.parametrize("level", LEVELS)
async def test_model_of_r_is_served_at_each_level(
    tmp_path: Path, environment: Path, level: str
) -> None:
    """A model of R reads its home, the packages of its build and R's own, and answers."""
    prefix = r_prefix()
    install = ["CMD", "INSTALL", f"--library={environment / 'library'}"]
    await trio.run_process(
        [str(prefix / "bin" / "R"), *install, str(tmp_path / "labelled.one")], capture_stderr=True
    )
    (tmp_path / "data" / "code").mkdir()
    (tmp_path / "data" / "code" / "model.R").write_text(MODEL)
    try:
        confinement = open_confinement(level, tmp_path / "data" / "confinement")
    except ConfinementUnavailable as why:
        not_here(str(why))
    async with open_workers(
        tmp_path / "data" / "replicas", f"r-{level}", confinement=confinement
    ) as workers:
        replica = ReplicaSpec(
            code=tmp_path / "data" / "code",
            environment=environment,
            prefix=prefix,
            language="r",
            file="model.R",
            function="told",
            identity=1,
        )
        spec = PoolSpec(name="told", replica=replica, log_folder=tmp_path / "logs", start_tries=1)
        pool = workers.open_pool(spec)
        with trio.fail_after(30):
            await pool.wait_ready()
            outcome = await pool.predict(b'{"a":3,"b":5}')
        assert isinstance(outcome, Answered), (outcome, [line.text for line in pool.tail(20)])
        told = msgspec.json.decode(outcome.body)
        assert (told["sum"], told["text"]) == (8, "of the build")
