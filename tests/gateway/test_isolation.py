"""Isolation does not fall by itself."""

import os
from pathlib import Path

import msgspec
import pytest

from gateway.data_folder import DataFolder
from gateway.isolation import last_served, open_isolation
from gateway.set_aside import SetAside
from gateway.settings import LoadedSettings, Settings
from tests.support.skipping import not_here
from workers import ConfinementUnavailable
from workers.confinement import ConfinementWeaker, SandboxView, landlock


class Site:
    """A data folder, served again and again."""

    def __init__(self, root: Path) -> None:
        for folder in (root, *root.parents[:2]):
            folder.chmod(0o755)
        self.data = DataFolder(root.resolve() / "data")
        self.data.root.mkdir()

    def serve(self, isolation: str = "auto") -> str:
        settings = msgspec.structs.replace(Settings(), data=self.data.root, isolation=isolation)
        return open_isolation(LoadedSettings(settings, {}), self.data, SetAside(self.data)).level


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One whose machine has bubblewrap and Landlock."""
    site = Site(tmp_path)
    if not landlock.version():
        not_here("this kernel has no Landlock")
    if site.serve() not in ("users", "userns"):
        not_here("no level that needs bubblewrap works")
    return site


@pytest.fixture
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.confinement.levels.program", lambda name: "")


def test_a_weaker_level_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says what is missing and which setting accepts the weaker level. That is
    remembered once it was accepted; a stronger one is taken as soon as it works."""
    best = site.serve()
    with monkeypatch.context() as gone:
        gone.setattr("workers.confinement.levels.program", lambda name: "")
        with pytest.raises(ConfinementWeaker) as refused:
            site.serve()
        assert "bwrap is missing: install bubblewrap" in str(refused.value)
        assert "set isolation = 'landlock' to accept it" in str(refused.value)
        assert last_served(site.data) == best
        assert site.serve("landlock") == "landlock"
        assert last_served(site.data) == "landlock"
        assert site.serve() == "landlock"
    assert site.serve() == best == last_served(site.data)


def test_a_level_that_is_named_does_not_fall(site: Site, without_bubblewrap: None) -> None:
    """A level that was asked for by name is had, or nothing is served."""
    with pytest.raises(ConfinementUnavailable, match="does not work here"):
        site.serve("users" if os.geteuid() == 0 else "userns")


def test_a_record_that_cannot_be_read(site: Site, without_bubblewrap: None) -> None:
    """It may have said the strongest."""
    site.data.isolation.write_bytes(b"\xff\n")
    with pytest.raises(ConfinementWeaker):
        site.serve()


@pytest.mark.parametrize(("earlier", "level"), [("root", "users"), ("user", "userns")])
def test_level_of_an_earlier_release_is_read(tmp_path: Path, earlier: str, level: str) -> None:
    """A data folder that has a level by its earlier name is served at that level, as before."""
    data = DataFolder(tmp_path)
    data.isolation.write_text(f"{earlier}\n")
    assert last_served(data) == level


def test_leftovers_decide_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that another level left to another user neither weaken the next level nor stay shut
    to those who run at it."""
    cache = site.data.root / "cache"
    (cache / "in").mkdir(parents=True)
    view = SandboxView(
        home=cache.parent / "home", tmp=cache.parent / "tmp", write=(cache,), identity=7
    )
    for folder in (view.home, view.tmp):
        folder.mkdir()
    owners = []
    for level in (site.serve(), "landlock", "none", site.serve()):
        settings = msgspec.structs.replace(Settings(), data=site.data.root, isolation=level)
        confinement = open_isolation(LoadedSettings(settings, {}), site.data, SetAside(site.data))
        assert confinement.level == level
        confinement.chown_writable(view)
        assert {path.stat().st_uid for path in (cache, cache / "in")} == {confinement.owner(view)}
        owners.append(cache.stat().st_uid)
    assert owners[1:3] == [os.geteuid()] * 2
    assert owners[0] == owners[3]
