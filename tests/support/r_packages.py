"""Packages of R made for tests, and repositories of them: no network is needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from builder.interpreters import Interpreter, inspect


def rscript() -> Path:
    """The machine's R; skips the test where it is missing."""
    found = shutil.which("Rscript")
    if found is None:
        pytest.skip("R is not installed")
    return Path(found)


async def the_r() -> Interpreter:
    """The machine's R; skips the test where it is missing."""
    return await inspect(rscript())


def source_of(
    name: str, version: str = "1.0", *, imports: str = "", code: str = "", **fields: str
) -> dict[str, str]:
    """The files of a source package, which exports a function of its own name."""
    stated = {
        "Package": name,
        "Version": version,
        "Title": f"Package {name}",
        "Description": "Made for a test.",
        "Author": "A",
        "Maintainer": "A <a@example.org>",
        "License": "MIT",
        **({"Imports": imports} if imports else {}),
        **fields,
    }
    exported = f'{name} <- function() "{name} {version}"\n'
    return {
        "DESCRIPTION": "".join(f"{key}: {value}\n" for key, value in stated.items()),
        "NAMESPACE": f"export({name})\n" + (f"import({imports})\n" if imports else ""),
        "R/code.R": exported + code,
    }


def write_package(folder: Path, name: str, version: str = "1.0", **more: str) -> Path:
    """A source package as a folder beneath `folder`."""
    package = folder / name
    for path, text in source_of(name, version, **more).items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    return package


class Repository:
    """A repository of source packages in a folder, as CRAN has it: the newest of each package, and
    an archive of the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"file://{folder}"
        self._contrib = folder / "src/contrib"
        self._contrib.mkdir(parents=True)

    def add(self, name: str, version: str = "1.0", **more: str) -> None:
        """A new version of a package."""
        for older in self._contrib.glob(f"{name}_*.tar.gz"):
            archive = self._contrib / "Archive" / name
            archive.mkdir(parents=True, exist_ok=True)
            older.rename(archive / older.name)
        package = write_package(self.folder / "sources", name, version, **more)
        build = ["R", "CMD", "build", "--no-build-vignettes", str(package)]
        subprocess.run(build, cwd=self._contrib, check=True, capture_output=True)
        index = 'tools::write_PACKAGES(".", type = "source")'
        subprocess.run(
            ["Rscript", "--vanilla", "-e", index],
            cwd=self._contrib,
            check=True,
            capture_output=True,
        )

    def install(self, *names: str) -> str:
        """A line of R that installs packages."""
        quoted = ", ".join(f'"{name}"' for name in names)
        return f'install.packages(c({quoted}), repos = "{self.url}")\n'
