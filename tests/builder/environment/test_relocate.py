"""An environment that was moved works at its new path, and no link in it leads outside."""

import os
import subprocess
from pathlib import Path

import pytest

from builder.environment.relocate import relocate

OLD = "/old/environments/one/environment"


@pytest.fixture
def virtualenv(tmp_path: Path) -> Path:
    made = tmp_path / "it's here" / "environments" / "one" / "environment"
    (made / "bin").mkdir(parents=True)
    (made / "predictd-bin").mkdir()
    return made


def test_files_that_name_the_path_are_corrected(virtualenv: Path) -> None:
    """Scripts of pip find their interpreter beside themselves; `activate` and the settings of
    `pip` have the new path; other files keep their bytes, and no file is changed in place."""
    script, activate = virtualenv / "bin/tool", virtualenv / "bin/activate"
    script.write_text(f"#!{OLD}/bin/python\nprint('ran')\n")
    script.chmod(0o755)
    activate.write_text(f"VIRTUAL_ENV={OLD}\n")
    long = virtualenv / "bin/long"
    long.write_text(
        f"#!/bin/sh\n'''exec' \"{OLD}/bin/python\" \"$0\" \"$@\"\n' '''\nprint('long')\n"
    )
    long.chmod(0o755)
    other = virtualenv / "bin/other"
    other.write_text("#!/bin/sh\necho other\n")
    shared = virtualenv.parent / "shared"
    os.link(script, shared)
    settings = virtualenv / "predictd-bin/settings.json"
    settings.write_text('{"cache": "/old/cache/x"}')
    os.symlink("/usr/bin/python3", virtualenv / "bin/python")
    relocate(virtualenv, OLD)
    assert subprocess.run([script], capture_output=True, text=True).stdout == "ran\n"
    assert subprocess.run([long], capture_output=True, text=True).stdout == "long\n"
    command = ["bash", "-c", '. "$0"; echo "$VIRTUAL_ENV"', str(activate)]
    assert subprocess.check_output(command, text=True).strip() == str(virtualenv)
    assert other.read_text() == "#!/bin/sh\necho other\n"
    assert OLD in shared.read_text()
    assert str(virtualenv.parents[2]) in settings.read_text()


def test_nothing_outside_is_changed(virtualenv: Path, tmp_path: Path) -> None:
    """Links are not followed, pipes do not block, and a link in place of a folder is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tool").write_text(f"#!{OLD}/bin/python\n")
    (virtualenv / "bin/tool").symlink_to(outside / "tool")
    os.mkfifo(virtualenv / "bin/pipe")
    relocate(virtualenv, OLD)
    assert (outside / "tool").read_text() == f"#!{OLD}/bin/python\n"
    (virtualenv / "bin").rename(virtualenv / "away")
    (virtualenv / "bin").symlink_to(outside)
    with pytest.raises(OSError, match="Not a directory"):
        relocate(virtualenv, OLD)
