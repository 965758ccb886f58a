"""A build of R: its script installs packages into its library, which is found again and locked."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.build import BuildReport
from builder.lock.difference import compare
from builder.lock.pylock import read_lock
from builder.reuse.access_times import is_exact
from tests.support.builder import Bench
from tests.support.r_packages import Repository, rscript, write_package
from tests.support.skipping import not_here

MODEL = "predict <- function(args) list(x = 1)\n"
# As in a project of R, which keeps the installation in a file of its own.
SCRIPT = "Rscript install.R\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    rscript()
    (tmp_path / "b").mkdir()
    bench = Bench(tmp_path / "b")
    bench.write("model.R", MODEL)
    return bench


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    rscript()
    return Repository(tmp_path / "cran")


async def build(bench: Bench, name: str = "one", **changes: Any) -> BuildReport:
    of_r = {"file": "model.R", "interpreter": rscript(), "python": Path(sys.executable)}
    return await bench.build(name, **{**of_r, **changes})


async def built(bench: Bench, name: str = "one", **changes: Any) -> str:
    """The environment of a new build."""
    report = await build(bench, name, **changes)
    assert report.outcome == "built", report.failure
    return bench.shelf.environment_of(name)


def library(bench: Bench, environment: str) -> Path:
    return bench.environments.virtualenv(environment) / "library"


def locked(report: BuildReport) -> dict[str, str]:
    assert report.lock is not None
    return {each.name: each.version for each in read_lock(report.lock.text).r_packages}


async def test_script_installs_into_the_library_of_the_build(
    bench: Bench, repository: Repository
) -> None:
    """`install.packages`, `R CMD INSTALL` and pip fill one environment, whose lock lists them."""
    repository.add("hello")
    repository.add("world", "2.1.3", imports="hello")
    write_package(bench.project / "packages", "mine", "0.1")
    bench.write("install.R", repository.install("world"))
    bench.write("cdsw-build.sh", "R CMD INSTALL packages/mine\n" + SCRIPT + "pip list\n")
    report = await build(bench)
    assert report.outcome == "built", (report.failure, bench.log.lines)
    assert locked(report) == {"hello": "1.0", "mine": "0.1", "world": "2.1.3"}
    assert report.lock is not None
    assert (report.lock.packages, read_lock(report.lock.text).r[:2]) == (3, "4.")
    manifest = bench.shelf.sealed("one")
    assert manifest is not None
    assert (manifest.language, manifest.interpreter) == ("r", str(rscript()))
    environment = bench.shelf.environment_of("one")
    found = sorted(path.name for path in library(bench, environment).iterdir())
    assert found == ["hello", "mine", "world"]
    programs = bench.environments.virtualenv(environment) / "bin"
    assert (programs / "Rscript").samefile(rscript())
    assert bench.environments.has_interpreter(environment)


async def test_environment_is_used_again_until_the_repository_has_another_version(
    bench: Bench, repository: Repository
) -> None:
    """A changed model costs no installation; a new version in the repository, also of what a
    package imports, makes another environment."""
    if not is_exact(bench.project):
        not_here("access times are not exact")
    repository.add("hello")
    repository.add("world", imports="hello")
    bench.write("install.R", repository.install("world"))
    bench.write("cdsw-build.sh", SCRIPT)
    first = await built(bench)
    bench.write("model.R", MODEL.replace("1", "2"))
    assert await built(bench, "two") == first
    repository.add("other")
    assert await built(bench, "three") == first
    repository.add("hello", "1.0.1")
    fourth = await built(bench, "four")
    assert fourth != first
    bench.write("install.R", repository.install("world", "other"))
    assert await built(bench, "five") != fourth


async def test_package_of_the_project_counts_by_its_files(bench: Bench) -> None:
    """A package that the project itself has is installed again when its source changes."""
    if not is_exact(bench.project):
        not_here("access times are not exact")
    write_package(bench.project, "mine")
    bench.write("cdsw-build.sh", "R CMD INSTALL mine\n")
    first = await built(bench)
    bench.write("model.R", MODEL.replace("1", "2"))
    assert await built(bench, "two") == first
    write_package(bench.project, "mine", "1.1")
    assert await built(bench, "three") != first


async def test_package_from_elsewhere_is_not_used_again(bench: Bench) -> None:
    """What git or an address gave may be another thing the next time."""
    write_package(
        bench.project,
        *("mine", "1.0"),
        RemoteType="github",
        RemoteUsername="a",
        RemoteRepo="mine",
        RemoteSha="0123abc",
    )
    bench.write("cdsw-build.sh", "R CMD INSTALL mine\n")
    first = await build(bench)
    assert first.lock is not None
    (package,) = read_lock(first.lock.text).r_packages
    assert package.source == "github a/mine@0123abc"
    assert "The next build makes its environment again" in bench.log
    assert await built(bench, "two") != bench.shelf.environment_of("one")


async def test_lock_of_renv_is_installed_without_a_script(
    bench: Bench, repository: Repository
) -> None:
    """The versions of a `renv.lock` are installed in their order, older ones from the archive."""
    repository.add("hello")
    repository.add("world", imports="hello")
    for name in ("hello", "world"):
        repository.add(name, "2.0", imports="hello" if name == "world" else "")
    bench.write("renv.lock", renv_lock(repository.url, world="1.0", hello="1.0", renv="0.1"))
    report = await build(bench)
    assert report.outcome == "built", (report.failure, bench.log.lines)
    assert locked(report) == {"hello": "1.0", "world": "1.0"}
    assert "No cdsw-build.sh: installing renv.lock" in bench.log
    assert "`Rscript -e 'renv::restore()'`" in bench.log
    if is_exact(bench.project):
        repository.add("hello", "3.0")
        assert await built(bench, "two") == bench.shelf.environment_of("one")


async def test_lock_of_renv_that_cannot_be_had_fails_by_name(
    bench: Bench, repository: Repository
) -> None:
    """A version that no repository has, or a package from elsewhere, fails the build by name."""
    repository.add("hello")
    bench.write("renv.lock", renv_lock(repository.url, hello="9.9"))
    report = await build(bench)
    assert report.failure is not None
    assert report.failure.summary == "renv.lock could not be installed"
    assert f"cannot download hello 9.9 from {repository.url}" in report.failure.problem
    assert "variable CRAN" in report.failure.advice
    lock = renv_lock(repository.url, hello="1.0", world="2.0")
    of_github = '"GitHub", "RemoteUsername": "a", "RemoteRepo": "b", "RemoteSha": "0123abc",'
    bench.write("renv.lock", lock.replace('"Repository",', of_github))
    report = await build(bench)
    assert report.failure is not None
    problem = report.failure.problem
    assert "hello 1.0 comes from GitHub (a/b@0123abc), and 1 more from such places" in problem
    assert "cdsw-build.sh with `Rscript -e 'install.packages(\"renv\")'" in report.failure.advice


async def test_missing_packages_are_told_where_the_script_continues(
    bench: Bench, repository: Repository
) -> None:
    """`install.packages` warns and continues: the log says what is missing, and why."""
    repository.add("hello")
    bench.write("install.R", repository.install("hello", "nope"))
    bench.write("cdsw-build.sh", SCRIPT)
    assert (await build(bench)).outcome == "built"
    told = [line for line in bench.log.lines if line.startswith("Note: R found no package")]
    assert len(told) == 1
    assert "nope" in told[0]
    bench.write("install.R", 'install.packages("hello", repos = "http://127.0.0.1:9/cran")\n')
    assert (await build(bench, "two")).outcome == "built"
    assert "Note: R could not reach http://127.0.0.1:9/cran" in bench.log


async def test_missing_compiler_is_told(bench: Bench) -> None:
    """A package that has to be compiled on a machine without a compiler fails with what to
    install."""
    package = write_package(bench.project, "fast")
    (package / "src").mkdir()
    (package / "src/fast.c").write_text("int fast(void) { return 1; }\n")
    # A make without compilers, as on a machine that has neither.
    bench.write("Makevars", "CC = /nowhere/gcc\n")
    bench.write("cdsw-build.sh", 'R_MAKEVARS_USER="$PWD/Makevars" R CMD INSTALL fast\n')
    report = await build(bench)
    assert report.failure is not None
    assert "/nowhere/gcc" in report.failure.problem
    assert "`r-base-dev`" in report.failure.advice


async def test_libraries_of_variables_come_behind_the_builds(
    bench: Bench, repository: Repository
) -> None:
    """A project's R_LIBS is looked in too, but packages go into the build's library."""
    repository.add("hello")
    bench.write("lib/.keep")
    bench.write("install.R", repository.install("hello") + 'cat(.libPaths()[2], "\\n")\n')
    bench.write("cdsw-build.sh", SCRIPT)
    home = bench.shelf.folder("one") / "code"
    environment = await built(bench, variables={"R_LIBS": str(home / "lib")})
    assert (library(bench, environment) / "hello").is_dir()
    assert f"{home / 'lib'} " in bench.log


async def test_mirror_takes_the_place_of_cran(bench: Bench, repository: Repository) -> None:
    """With the variable CRAN packages come from that mirror, also where a script names CRAN."""
    repository.add("hello")
    repository.add("world")
    bench.write(
        "install.R",
        'install.packages("hello", repos = "https://cran.example.org")\n'
        'install.packages("world")\n',
    )
    bench.write("cdsw-build.sh", SCRIPT)
    report = await build(bench, variables={"CRAN": repository.url})
    assert locked(report) == {"hello": "1.0", "world": "1.0"}, bench.log.lines


async def test_python_and_r_are_both_there(bench: Bench, repository: Repository) -> None:
    """The script of a Python build may install packages of R, for a project of both."""
    repository.add("hello")
    bench.write("model.py", "def predict(x): return x")
    bench.write("install.R", repository.install("hello"))
    bench.write("cdsw-build.sh", SCRIPT)
    report = await bench.build()
    assert report.outcome == "built", report.failure
    assert locked(report) == {"hello": "1.0"}


async def test_difference_of_locks_has_packages_of_r(bench: Bench, repository: Repository) -> None:
    """A new version of a package of R is a change between two builds."""
    repository.add("hello")
    bench.write("install.R", repository.install("hello"))
    bench.write("cdsw-build.sh", SCRIPT)
    before = (await build(bench)).lock
    repository.add("hello", "1.2")
    repository.add("more")
    bench.write("install.R", repository.install("hello", "more"))
    after = (await build(bench, "two")).lock
    assert before is not None
    assert after is not None
    changes = compare(read_lock(before.text), read_lock(after.text))
    shown = [(each.language, each.name, each.kind, each.before, each.after) for each in changes]
    assert shown == [("r", "hello", "version", "1.0", "1.2"), ("r", "more", "added", "", "1.0")]


async def test_rebuild_takes_older_versions_from_the_archive(
    bench: Bench, repository: Repository
) -> None:
    """A rebuild installs the versions of its lock, also of what a package imports, where the
    repository has newer ones; the next build takes these."""
    repository.add("hello")
    repository.add("world", imports="hello")
    bench.write("install.R", repository.install("world"))
    bench.write("cdsw-build.sh", SCRIPT)
    lock = (await build(bench)).lock
    assert lock is not None
    repository.add("hello", "2.0")
    repository.add("other", "3.0")
    repository.add("world", "2.0", imports="other")
    report = await build(bench, "two", lock=lock.text, fresh=True)
    assert report.outcome == "built", (report.failure, bench.log.lines)
    assert locked(report) == {"hello": "1.0", "world": "1.0"}
    assert "Installing the versions of the build's lock (2 packages)" in bench.log
    assert locked(await build(bench, "three")) == {"other": "3.0", "world": "2.0"}


async def test_rebuild_without_a_version_of_r_packages_is_refused(
    bench: Bench, repository: Repository
) -> None:
    """A rebuild has to have the packages of its lock: what no repository has fails it by name."""
    repository.add("hello")
    bench.write("install.R", repository.install("hello"))
    bench.write("cdsw-build.sh", SCRIPT)
    lock = (await build(bench)).lock
    assert lock is not None
    repository.add("hello", "2.0")
    shutil.rmtree(repository.folder / "src/contrib/Archive")
    report = await build(bench, "two", lock=lock.text, fresh=True)
    assert report.failure is not None
    assert "hello 1.0 -> 2.0" in report.failure.problem
    address = f"{repository.url}/src/contrib"
    assert f"Cannot get hello 1.0 of the build's lock from {address}" in bench.log


async def test_rebuild_installs_packages_of_the_project_from_their_files(
    bench: Bench, repository: Repository
) -> None:
    """A package of the project is in the lock, and no repository is asked for it."""
    repository.add("mine", "1.0")
    repository.add("hello")
    file = "mine_1.0.tar.gz"
    (bench.project / file).write_bytes((repository.folder / "src/contrib" / file).read_bytes())
    bench.write("install.R", f'options(repos = "file:///none")\ninstall.packages("{file}")\n')
    bench.write("cdsw-build.sh", SCRIPT)
    first = await build(bench)
    assert first.outcome == "built", (first.failure, bench.log.lines)
    assert locked(first) == {"mine": "1.0"}
    assert first.lock is not None
    bench.write("install.R", f'install.packages("{file}")\n{repository.install("hello")}')
    report = await build(bench, "two", lock=first.lock.text, fresh=True)
    assert report.outcome == "built", (report.failure, bench.log.lines)
    assert locked(report) == {"mine": "1.0", "hello": "1.0"}


def renv_lock(url: str, **versions: str) -> str:
    return json.dumps(
        {
            "R": {"Version": "4.2.2", "Repositories": [{"Name": "CRAN", "URL": url}]},
            "Packages": {
                name: {
                    "Package": name,
                    "Version": version,
                    "Source": "Repository",
                    "Repository": "CRAN",
                    "Hash": "0" * 32,
                }
                for name, version in versions.items()
            },
        }
    )
