"""What a script leaves for the gateway's own questions to uv does not redirect the gateway."""

import os
from pathlib import Path

import pytest

from builder.environment.pip.fingerprint import fingerprint
from builder.environment.pip.question import make_question_folder
from builder.files.small_file import read_small_file
from tests.support.builder import Bench, run
from tests.support.scripts import run_in_new_environment
from tests.support.wheels import make_wheel

# Links at each name that the gateway has used in the build's temporary files.
LINKS = """
set -e
pip install --no-index -f wheels greeting
ln -s '{victim}' "$TMPDIR/fingerprint"
mkdir -m 777 "$TMPDIR/lock"
for name in pins.txt uv.toml pylock.toml; do ln -s '{victim}/file' "$TMPDIR/lock/$name"; done
for name in fingerprint lock; do ln -s '{victim}' "$TMPDIR/../question-$name"; done
"""


async def test_links_of_a_script_lead_no_question_elsewhere(bench: Bench, tmp_path: Path) -> None:
    """A script puts links where the gateway writes its questions to uv. Files elsewhere keep their
    content and their modes, and the build is locked and fingerprinted."""
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    (victim / "file").write_text("mine")
    make_wheel(bench.project / "wheels", "greeting", "1.0")
    bench.write("model.py", "def predict(args):\n    return args\n")
    bench.write("cdsw-build.sh", LINKS.format(victim=victim))
    report = await bench.build()
    assert report.outcome == "built", report.failure
    assert os.listdir(victim) == ["file"]
    assert (victim / "file").read_text() == "mine"
    assert victim.stat().st_mode & 0o777 == 0o700
    environment = bench.shelf.environment_of("one")
    inputs = bench.environments.inputs(environment)
    assert inputs is not None
    assert inputs.fingerprint
    assert "greeting" in bench.environments.lock_text(environment)
    assert not list(bench.shelf.folder("one").glob("question*"))


def test_a_question_starts_in_a_new_folder(tmp_path: Path) -> None:
    """Links that a program has put into the folder of a question are gone before the next one."""
    folder = tmp_path / "question"
    make_question_folder(folder)
    (folder / "requirements.in").symlink_to(tmp_path / "elsewhere")
    make_question_folder(folder)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.symlink_to(tmp_path)
    make_question_folder(folder)
    assert not folder.is_symlink()


async def test_a_question_has_temporary_files_of_its_own(bench: Bench) -> None:
    """Code of the project that runs while a request is resolved finds none of the files that the
    gateway makes for the script afterwards."""
    seen = []

    async def noted(command: list[str], **given: object) -> int:
        paths = given["paths"]
        seen.extend([paths.tmp, *paths.write])  # type: ignore[attr-defined]
        return await run(command, **given)  # type: ignore[arg-type]

    make_wheel(bench.project / "wheels", "greeting", "1.0")
    bench.write("cdsw-build.sh", "pip install --no-index -f wheels greeting")
    spec = await bench.spec()

    requests = await run_in_new_environment(bench, spec)
    assert requests
    assert await fingerprint(spec, requests, noted, bench.log, 60)
    assert seen
    assert not [path for path in seen if path.is_relative_to(spec.tmp)]


def test_a_link_is_no_answer(tmp_path: Path) -> None:
    """A link in the place of a small file is refused: it may lead to what only we can read."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "answer").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="it is a link"):
        read_small_file(tmp_path / "answer", 100)
