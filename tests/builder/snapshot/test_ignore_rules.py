"""Ignore files are bounded, and what git does with them holds up no other task."""

from pathlib import Path

import pytest
import trio

from builder.errors import SnapshotFailed
from builder.snapshot.snapshot import take_snapshot
from builder.spec import Log, SandboxPaths
from tests.support.builder import Bench, run

# Which git has to try on each name, letter by letter.
SLOW = "*a?*b*\n" * 9000


@pytest.mark.parametrize("name", [".gitignore", "sub/.gitignore"])
async def test_big_ignore_file_is_refused(bench: Bench, name: str) -> None:
    """An ignore file that is too big is refused by its name, with what to do."""
    bench.write(name, "x" * 4 * 1024 * 1024)
    with pytest.raises(
        SnapshotFailed, match=rf"^[^:]*: {name} has more than 65,536 bytes"
    ) as caught:
        await bench.take()
    assert "Use patterns" in caught.value.advice


async def test_too_many_ignore_files_are_refused(bench: Bench) -> None:
    """Too many ignore files, or too many bytes of all together, are refused."""
    for number in range(20):
        bench.write(f"{number}/.gitignore", "x" * 100)
    with pytest.raises(SnapshotFailed, match=r"more than 19 \.gitignore files"):
        await bench.take(ignore_files=19)
    with pytest.raises(SnapshotFailed, match=r"1,999 bytes together, with 9/\.gitignore"):
        await bench.take(ignore_total_bytes=1999)
    await bench.take()


async def test_endless_ignore_patterns_fail(bench: Bench) -> None:
    """Patterns that keep git busy end in a named failure; nothing of the request is left."""
    bench.write(".gitignore", SLOW)
    for number in range(1000):
        bench.write(f"{number}" + "a" * 200)
    with pytest.raises(SnapshotFailed, match=r"more than 0.1 seconds for the \.gitignore files"):
        await bench.take(ignore_seconds=0.1)
    assert not list(bench.store.parent.glob("ignoring-*"))


async def test_busy_git_delays_no_other_snapshot(bench: Bench, tmp_path: Path) -> None:
    """While git is busy with the ignore files of one project, snapshots of others are taken, even
    of more projects than there are threads."""
    bench.write(".gitignore", "*.pyc\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / ".gitignore").write_text("*.pyc\n")
    busy = trio.Event()

    async def told(*_: object, **__: object) -> int:
        busy.set()
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as nursery:
        for number in range(6):
            one = tmp_path / f"busy-{number}.git"
            nursery.start_soon(_take, bench.project, one, bench.log, told)
        await busy.wait()
        await take_snapshot(other, tmp_path / "other.git", "one", bench.log, run=run)
        nursery.cancel_scope.cancel()
    assert not list(tmp_path.glob("ignoring-*"))


async def _take(project: Path, store: Path, log: Log, told: object) -> None:
    await take_snapshot(project, store, "one", log, run=told)  # type: ignore[arg-type]


async def test_git_sees_only_ignore_files_and_folder_names(bench: Bench) -> None:
    """Git runs confined, and reads only the ignore files and the names of folders."""
    bench.write(".gitignore", "*.csv\n")
    bench.write("sub/secret.txt", "secret")
    bench.write("sub/a.csv")
    seen: list[tuple[SandboxPaths, dict[str, str], set[str]]] = []

    async def told(command: list[str], *, paths: SandboxPaths, variables: dict[str, str],
                   **more: object) -> int:  # fmt: skip
        assert str(bench.project) not in " ".join(command)
        [shown] = paths.read
        tree = shown / "tree"
        names = {str(path.relative_to(tree)) for path in tree.rglob("*")}
        seen.append((paths, variables, names))
        return await run(command, paths=paths, variables=variables, **more)  # type: ignore[arg-type]

    store = bench.store
    await take_snapshot(bench.project, store, "one", bench.log, run=told)  # type: ignore[arg-type]
    assert [names for _, _, names in seen] == [{".gitignore", "sub"}] * 2
    for paths, variables, _ in seen:
        assert paths.write == ()
        assert not any(path.is_relative_to(bench.project) for path in (paths.home, paths.tmp))
        assert variables["GIT_CONFIG_GLOBAL"] == "/dev/null"
        assert "HOME" not in variables


async def test_project_without_ignore_files_needs_no_git(bench: Bench) -> None:
    """Without an ignore file git is not run."""
    bench.write("sub/a.py")

    async def told(*_: object, **__: object) -> int:
        raise AssertionError

    await take_snapshot(bench.project, bench.store, "one", bench.log, run=told)


async def test_ignore_file_that_is_a_link_has_no_effect(bench: Bench, tmp_path: Path) -> None:
    """It is kept as a link and has no effect, as with git."""
    (tmp_path / "patterns").write_text("a.py\n")
    bench.write("a.py")
    bench.write("patterns", "a.py\n")
    (bench.project / ".gitignore").symlink_to("patterns")
    snapshot = await bench.take()
    assert snapshot
