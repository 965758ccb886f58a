"""Makes an environment work at another path than the one at which it was made.

Python itself finds its packages from its own place. By their path the environment is named only by
scripts that pip has installed, by `bin/activate`, and by the settings of the build script's `pip`.
Those are corrected. What else names the old path, such as a file that a build script has
written, is found by `find_path_reference`; such an environment has to be made again.

The files come from a backup and are not trusted: no link is followed, and only small files are
read. Each changed file is a new one, since files may be shared by hard links.
"""

import json
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from builder.environment.seeds import WRAPPERS, relocatable
from builder.files.safe_open import Folder, NotAFile

# The most bytes of a script or a file of settings; a longer one is left as it is.
_MOST_BYTES = 1024 * 1024
_MOST_SCRIPTS = 20_000


def relocate(virtualenv: Path, old: str) -> None:
    """Correct an environment that lay at the path `old`. Blocking. Raises OSError."""
    new = str(virtualenv)
    with Folder.root(virtualenv) as environment:
        with environment.folder(["bin"]) as scripts:
            for entry in scripts.entries(_MOST_SCRIPTS):
                if entry.name.startswith("activate"):
                    _correct(scripts, entry.name, _replacing(shlex.quote(old), shlex.quote(new)))
                else:
                    _correct(scripts, entry.name, partial(_with_own_python, old))
        roots = [json.dumps(str(path.parents[2]))[1:-1] for path in (Path(old), virtualenv)]
        with (
            suppress(FileNotFoundError, NotADirectoryError),  # a runtime has none
            environment.folder([WRAPPERS]) as wrappers,
        ):
            _correct(wrappers, "settings.json", _replacing(*roots))


def _correct(folder: Folder, name: str, change: Callable[[bytes], bytes]) -> None:
    """Replace a file, if `change` changes its content."""
    try:
        with folder.open(name) as file:
            content, mode = file.read(_MOST_BYTES + 1), os.fstat(file.fileno()).st_mode
    except (NotAFile, FileNotFoundError):
        return
    if len(content) <= _MOST_BYTES and (corrected := change(content)) != content:
        with folder.writing(name, mode & 0o755) as file:
            file.write(corrected)


def _replacing(old: str, new: str) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(os.fsencode(old), os.fsencode(new))


def _with_own_python(old: str, script: bytes) -> bytes:
    """The script, which finds its Python beside itself if it named that by the old path."""
    first, *more = script.split(b"\n", 2)
    if more and more[0].startswith(b"'''exec'"):  # pip's form for long paths and blanks
        first += more[0]
    names_python = first.startswith(b"#!") and os.fsencode(old) in first
    return relocatable(script) if names_python else script
