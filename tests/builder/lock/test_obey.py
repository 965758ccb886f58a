"""A rebuild has the packages of its lock, or fails and says which it cannot have."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.build import BuildReport
from tests.support.builder import Bench
from tests.support.package_index import PackageIndex, serving

MODEL = "def predict(args):\n    return args\n"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with serving(PackageIndex()) as served:
        served.add("greeting", "1.0", requires=("polite",))
        served.add("polite", "2.5")
        yield served


async def build(bench: Bench, index: PackageIndex, name: str, lock: str = "") -> BuildReport:
    """A build whose script installs the newest version."""
    bench.write("model.py", MODEL)
    bench.write("cdsw-build.sh", "pip install greeting\n")
    return await bench.build(name, variables={"PIP_INDEX_URL": index.url}, lock=lock, fresh=True)


def locked(report: BuildReport) -> str:
    assert report.lock is not None, report.failure
    return report.lock.text


async def lose_environment(bench: Bench) -> None:
    """Remove the environment of build `one`, which a rebuild would use again."""
    manifest = bench.shelf.sealed("one")
    assert manifest is not None
    await bench.environments.remove(manifest.environment)


def freeze(bench: Bench, name: str) -> bytes:
    manifest = bench.shelf.sealed(name)
    assert manifest is not None
    pip: Path = bench.environments.virtualenv(manifest.environment) / "bin/python"
    return subprocess.run([pip, "-m", "pip", "freeze"], check=True, capture_output=True).stdout


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_rebuild_has_the_versions_of_its_lock(
    bench: Bench, index: PackageIndex, tool: str
) -> None:
    """With newer versions in the index, a rebuild on another path has byte-equal `pip freeze` and
    the same lock; a new build has the newer ones."""
    lock = locked(await build(bench, index, "one"))
    frozen = freeze(bench, "one")
    await lose_environment(bench)
    index.add("greeting", "1.1", requires=("polite",))
    index.add("polite", "3.0")
    again = await bench.build(
        "two", variables={"PIP_INDEX_URL": index.url, "PREDICTD_PIP": tool}, lock=lock, fresh=True
    )
    assert locked(again) == lock
    assert freeze(bench, "two") == frozen == b"greeting==1.0\npolite==2.5\n"
    await build(bench, index, "three")
    assert freeze(bench, "three") == b"greeting==1.1\npolite==3.0\n"


async def test_missing_version_fails_by_name(bench: Bench, index: PackageIndex) -> None:
    """Where the index no longer has a version of the lock, the failure names it."""
    lock = locked(await build(bench, index, "one"))
    await lose_environment(bench)
    index.remove("polite", "2.5")
    index.add("polite", "3.0")
    report = await build(bench, index, "two", lock)
    assert report.failure is not None
    assert report.failure.summary == "The build could not be made again from its lock"
    assert "polite==2.5" in report.failure.problem
    assert "deploy again" in report.failure.advice


async def test_other_bytes_fail_the_rebuild(bench: Bench, index: PackageIndex) -> None:
    """A file with other bytes under the same name is refused, and so is a version that the script
    installs past the constraints."""
    lock = locked(await build(bench, index, "one"))
    await lose_environment(bench)
    index.add("polite", "2.5", body="EVIL = True\n")
    report = await build(bench, index, "two", lock)
    assert report.failure is not None
    assert "polite 2.5 (other bytes under the same name)" in report.failure.problem
    assert not bench.shelf.folder("two").exists()


async def test_package_more_or_less_is_told(bench: Bench, index: PackageIndex) -> None:
    """A package that only one of the two has does not fail the rebuild; the log names it."""
    lock = locked(await build(bench, index, "one"))
    await lose_environment(bench)
    index.add("greeting", "1.0", requires=("polite", "shouting"))
    index.add("shouting", "9")
    changed = lock.replace(lock[lock.index("[[packages]]") : lock.rindex("[[packages]]")], "")
    report = await build(bench, index, "two", changed)
    assert report.outcome == "built", report.failure
    assert "Differs from the lock: shouting not installed -> 9" in bench.log
