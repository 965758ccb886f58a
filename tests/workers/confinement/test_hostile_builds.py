"""What a build makes of its own environment changes nothing of what its replicas are shown."""

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from workers.confinement import Confinement, Level, SandboxView
from workers.confinement.levels import LevelChoice
from workers.process.languages import INSIDE
from workers.replica.supervisor import view_of
from workers.spec import ReplicaSpec

SYSTEM = ("/usr", "/opt", "/etc", "/sys/", "/run/", "/bin", "/sbin", "/lib", "/proc", "/dev")


class Site:
    """A data folder with secrets and two builds, and an interpreter beside it."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.own = self.data / "builds" / "own" / "environment"
        self.other = self.data / "builds" / "other" / "environment"
        self.python = root / "python"
        self.home, self.tmp = self.data / "replicas" / "r" / "code", self.data / "replicas/r/tmp"
        for folder in (self.own, self.other, self.python):
            (folder / "bin").mkdir(parents=True)
            (folder / "lib").mkdir()
        for folder in (self.home, self.tmp):
            folder.mkdir(parents=True)
        (self.data / "admin.key").write_text("secret")
        (self.python / "bin" / "python").write_text("")
        (self.own / "bin" / "python").symlink_to(self.python / "bin" / "python")
        (self.own / "pyvenv.cfg").write_text(f"home = {self.python}/bin\n")

    def confinement(self, level: Level) -> Confinement:
        folder = self.data / "replicas.confinement"
        folder.mkdir()
        return Confinement(LevelChoice(level, {}), folder)

    def view(self, prefix: Path | None = None) -> SandboxView:
        spec = ReplicaSpec(
            code=self.own.parent / "code",
            environment=self.own,
            prefix=prefix or self.python,
            file="model.py",
            function="predict",
        )
        return view_of(spec, home=self.home, tmp=self.tmp)


def _shown(confinement: Confinement, view: SandboxView) -> dict[str, list[str]]:
    """What is mounted, or allowed, beside the system: by way, the real paths."""
    launch = confinement.launch(["true"], cwd=view.home, variables={}, view=view)
    launch.close()
    if confinement.level == "landlock":
        rules = json.loads(launch.chain[-1])
        found = {"read": rules["read"], "write": rules["write"]}
    else:
        words = list(pairwise(launch.chain))
        ways = {"read": "--ro-bind", "write": "--bind"}
        found = {name: [b for a, b in words if a == way] for name, way in ways.items()}
    return {
        name: sorted(each for each in paths if not each.startswith(SYSTEM))
        for name, paths in found.items()
    }


def _nothing(site: Site) -> None:
    pass


def _many_homes(site: Site) -> None:
    folders = (
        site.data,
        site.other / "bin",
        Path("/"),
        Path.home(),
        Path("/root"),
        site.data / "x",
    )
    lines = [f"home = {folder}" for folder in folders]
    (site.own / "pyvenv.cfg").write_text("\n".join(lines))


def _python_leads_to(target: Callable[[Site], Path]) -> Callable[[Site], None]:
    def link(site: Site) -> None:
        (site.own / "bin" / "python").unlink()
        (site.own / "bin" / "python").symlink_to(target(site))

    return link


def _chain(site: Site) -> None:
    _python_leads_to(lambda site: site.own / "bin" / "python3")(site)
    (site.own / "bin" / "python3").symlink_to(site.own / "lib64" / "admin.key")
    (site.own / "lib64").symlink_to(site.data)


def _loop(site: Site) -> None:
    _python_leads_to(lambda site: site.own / "bin" / "python")(site)


def _pipes(site: Site) -> None:
    for path in (site.own / "pyvenv.cfg", site.own / "bin" / "python"):
        path.unlink()
        os.mkfifo(path)


def _gone(site: Site) -> None:
    (site.own / "bin" / "python").unlink()
    (site.own / "bin").rmdir()
    (site.own / "bin").symlink_to(site.data)


HOSTILE: dict[str, Callable[[Site], None]] = {
    "honest": _nothing,
    "pyvenv.cfg names many homes": _many_homes,
    "python leads to the data folder": _python_leads_to(lambda site: site.data / "admin.key"),
    "python leads to another build": _python_leads_to(lambda site: site.other / "bin" / "python"),
    "python leads to the root": _python_leads_to(lambda site: Path("/")),
    "python leads to a home": _python_leads_to(lambda site: Path.home() / "bin" / "python"),
    "links lead to links": _chain,
    "python leads to itself": _loop,
    "pipes in place of files": _pipes,
    "bin leads to the data folder": _gone,
}


@pytest.mark.parametrize("level", ["users", "userns", "landlock"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_view_of_a_replica_ignores_statements_of_the_build(
    tmp_path: Path, level: Level, hostile: str
) -> None:
    """Beside the system a replica sees its environment, our inside and the recorded interpreter
    read-only, and its own two folders writable, with any statement of the
    environment."""
    site = Site(tmp_path)
    HOSTILE[hostile](site)
    assert _shown(site.confinement(level), site.view()) == {
        "read": sorted(map(str, (site.own, site.python, INSIDE))),
        "write": sorted(map(str, (site.home, site.tmp))),
    }


@pytest.mark.parametrize("level", ["users", "userns", "landlock"])
@pytest.mark.parametrize("prefix", ["data", "data/builds/other", "link", "/", "/home", "/home/me"])
def test_interpreter_around_private_folders_is_refused(
    tmp_path: Path, level: Level, prefix: str
) -> None:
    """An interpreter whose folder cannot be shown without the data folder or a home is refused."""
    site = Site(tmp_path)
    (tmp_path / "link").symlink_to(site.data)
    with pytest.raises(OSError, match="interpreter"):
        _shown(site.confinement(level), site.view(tmp_path / prefix))


@pytest.mark.parametrize("level", ["users", "userns"])
def test_interpreter_around_the_data_folder_is_shown_without_it(
    tmp_path: Path, level: Level
) -> None:
    """Where the interpreter's folder contains the data folder, the rest of it is shown."""
    site = Site(tmp_path)
    view = site.view(tmp_path)
    chain = list(
        site.confinement(level).launch(["true"], cwd=site.home, variables={}, view=view).chain
    )
    covered = list(pairwise(chain)).index(("--tmpfs", str(site.data)))
    assert chain.index(str(tmp_path)) < covered < chain.index(str(site.own))


def test_landlock_shows_an_interpreter_without_the_data_folder(tmp_path: Path) -> None:
    """Where the interpreter's folder contains the data folder, Landlock shows the rest of it."""
    site = Site(tmp_path)
    assert _shown(site.confinement("landlock"), site.view(tmp_path))["read"] == sorted(
        map(str, (site.own, site.python, INSIDE))
    )
