"""What to do about a model's file, or a script, that raised an exception.

Python says what went wrong. The remedy depends on what Python does not know: which files a
`.gitignore` excludes from the build, whether there is a build script, which variables were given.
Each cause has its advice in `_CAUSES`; the first cause that matches is used.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

from builder import REQUIREMENT_FILES, submodules
from gateway.control.source_files import (
    SourceFiles,
    has,
    has_module,
    is_empty,
    own_path,
    rule_for,
)
from gateway.suggested_command import suggested

# Modules whose distribution has another name.
_DISTRIBUTIONS = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_LONGEST = 8000  # of a traceback's end, in characters, that are searched
_HOME = "/home/cdsw/"
_R_LOCK = "renv.lock"
_IGNORES = PurePosixPath(".gitignore")
CORRECT = "Correct the file. The log has the full traceback."


def remedy(summary: str, detail: str, source: SourceFiles) -> str:
    """The advice for a file that raised: `summary` is its exception, `detail` the traceback.
    Blocking."""
    text = f"{summary}\n{detail[-_LONGEST:]}"
    for pattern, advice in _CAUSES:
        if found := re.search(pattern, text, re.DOTALL):
            return advice(found, source)
    return CORRECT


def _missing_variable(found: re.Match[str], source: SourceFiles) -> str:
    name = found[1]
    if source.is_script:
        return f"Set the variable {name} for the project, as a plain variable or as a secret."
    deploy = suggested("deploy --env", f"{name}=VALUE")
    return (
        f"Set the variable for the deployment ({deploy}), or for the project. A build without a "
        "deployment is probed with the variables of the model's present deployment."
    )


def _missing_module(found: re.Match[str], source: SourceFiles) -> str:
    module = found[1]
    top = module.partition(".")[0]
    folder = PurePosixPath(source.file).parent
    beside = PurePosixPath(source.model_root, folder)
    if folder.parts and has_module(source.code, beside, top):
        return (
            f"`{top}` is beside the file, but modules are imported from the model's root: write "
            f"`from {'.'.join(folder.parts)} import {top}`, or make {str(beside)!r} the model's "
            "root."
        )
    root = PurePosixPath(source.model_root)
    if advice := _of_submodule(source, root / top) or _of_empty_folder(source, root / top):
        return advice
    if advice := _of_own_module(source, root, module):
        return advice
    name = _DISTRIBUTIONS.get(top, top)
    if source.has_script:
        return f"Have cdsw-build.sh install the package of `{top}`, such as `pip install {name}`."
    for file in REQUIREMENT_FILES:
        if (source.code / file).is_file():
            return f"Add the package of `{top}` to {file}, such as `{name}`."
    return (
        "Nothing is installed, because the project has no cdsw-build.sh and no requirements.txt: "
        f"add a requirements.txt with the line `{name}`."
    )


def _of_own_module(source: SourceFiles, root: PurePosixPath, module: str) -> str:
    """The advice if the project has the module, or the folder that it would be in; else ""."""
    top, *below = module.split(".")
    path = root.joinpath(top, *below)
    places = (root / top, root / f"{top}.py", path, path.with_name(f"{path.name}.py"))
    rule = next(filter(None, (rule_for(source, each) for each in places)), "")
    in_project = source.project and has_module(source.project, path.parent, path.name)
    if rule or (in_project and not has_module(source.code, path.parent, path.name)):
        return (
            f"`{module}` is a file of the project that is not in the build, because "
            f"{rule or 'a .gitignore'} excludes it: remove or narrow that line."
        )
    if below and has(source.code, root / top):
        return (
            f"`{top}` is a folder of the project, and has no `{'.'.join(below)}`: correct the "
            f"name, or add the file to {str(root / top)!r}."
        )
    return ""


def _of_empty_folder(source: SourceFiles, path: PurePosixPath) -> str:
    root = source.code if has(source.code, path) else source.project
    if root is None or not is_empty(root, path):
        return ""
    return (
        f"{path} is an empty folder of the project. If it is a submodule of git, run `git "
        "submodule update --init`, then upload its files."
    )


def _missing_r_package(found: re.Match[str], source: SourceFiles) -> str:
    name = found[1]
    install = f"`Rscript -e 'install.packages(\"{name}\")'`"
    machine = f"or have the operator install `r-cran-{name.lower()}` on the machine"
    if source.has_script:
        return (
            f"Have cdsw-build.sh install the package, such as {install}, {machine}. If it does "
            "already, the log of the build says why R could not install it."
        )
    if (source.code / _R_LOCK).is_file():
        return f"Add {name} to {_R_LOCK} (`renv::snapshot()`), {machine}."
    return f"Nothing is installed: add a cdsw-build.sh with {install}, {machine}."


def _missing_file(found: re.Match[str], source: SourceFiles) -> str:
    path = found[1]
    inner = path.removeprefix(_HOME)
    if inner.startswith("/"):
        if own := own_path(path, source):
            return (
                f"Models and scripts see the project at another path: open {own!r} instead of "
                f"{path!r}, relative to {source.root}."
            )
        return (
            f"Models and scripts do not see {path}: they see their project, the system, and the "
            "folders that the setting `shared_folders` names."
        )
    inside = PurePosixPath("" if path != inner else source.model_root, inner)
    if advice := _of_submodule(source, inside):
        return advice
    rule = rule_for(source, inside)
    if rule or (source.project and has(source.project, inside)):
        return (
            f"{inner} is in the project, but not in the build, because {rule or 'a .gitignore'} "
            "excludes it: remove or narrow that line, or have cdsw-build.sh make the file."
        )
    check = ", check that .gitignore does not exclude it" if has(source.code, _IGNORES) else ""
    return (
        f"Add {inner} to the project{check}, or have cdsw-build.sh make it. Paths are relative to "
        f"{source.root}."
    )


def _of_submodule(source: SourceFiles, path: PurePosixPath) -> str:
    for each in submodules(source.code):
        if path.is_relative_to(each):
            return (
                f"{each} is a submodule that is not in the clone: run `git submodule update "
                "--init` where the project comes from, and upload its files."
            )
    return ""


def _always(text: str) -> Callable[[re.Match[str], SourceFiles], str]:
    return lambda found, source: text


_OTHER_VERSION = _always(
    "A file was pickled with other versions of the libraries than the build has: have "
    "cdsw-build.sh install the versions that the file was made with (`pip install NAME==VERSION`), "
    "or make the file again."
)
# The summary is the first line; the rest is the traceback.
_CAUSES: list[tuple[str, Callable[[re.Match[str], SourceFiles], str]]] = [
    (
        r"invalid load key, 'v'|git-lfs\.github\.com",
        _always(
            "A file is a Git LFS pointer instead of the file itself: run `git lfs pull` where the "
            "project comes from, and upload the file itself."
        ),
    ),
    (
        r"^ValueError: unsupported pickle protocol",
        _always(
            "A file was pickled by a newer Python: build with that Python (`--kernel`), or make "
            "the file again."
        ),
    ),
    (
        r"^(?:Attribute|Type|Value|ModuleNotFound|Import)Error: (?=.*(?:Can't get attribute|"
        r"incompatible dtype|BitGenerator|No module named '(?:numpy\._core|sklearn\.[\w.]+|"
        r"pandas\.[\w.]+)'))(?=.*(?:pickle|joblib))",
        _OTHER_VERSION,
    ),
    (
        r"^UnicodeDecodeError: 'ascii' codec(?=.*(?:pickle|joblib))",
        _always(
            'A file was pickled by Python 2: load it with `encoding="latin1"`, or make the file '
            "again."
        ),
    ),
    (r"^KeyError: '([A-Za-z_]\w*)'(?=.*environ)", _missing_variable),
    (r"^ModuleNotFoundError: No module named '([\w.]+)'", _missing_module),
    (r"there is no package called ['\u2018](\S+?)['\u2019]", _missing_r_package),
    (r"cannot open (?:compressed )?file ['\u2018]([^'\u2019]+)['\u2019]", _missing_file),
    (r"^FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'", _missing_file),
    (
        r"^[^\n]*(?:CUDA|cuda|NVIDIA|libcu\w+\.so|No GPU|/dev/nvidia)",
        _always(
            "Models see only the GPUs that they ask for: deploy with `--gpus 1` if the machine has "
            'one, or load on the CPU (`map_location="cpu"`, the CPU build of the library).'
        ),
    ),
    (
        r"^(?:ImportError|OSError): (\S+\.so[\w.]*): cannot open shared object file",
        lambda found, source: (
            f"The system library {found[1]} is not on this machine: have the operator install it, "
            "or use a package that does not need it (opencv-python-headless)."
        ),
    ),
    (
        r"^[^\n]*(?:JAVA_GATEWAY_EXITED|Java gateway process exited|No such file .*: 'java')",
        _always(
            "Spark's Java process did not start. The log has what it printed. If there is no "
            "`java`, have the operator install one. If it is in no usual place, set JAVA_HOME."
        ),
    ),
    (
        r"^(?:SyntaxError|IndentationError|TabError)",
        _always("Correct the line that is named. A model's file is plain Python."),
    ),
    (
        r"^the model was not ready within",
        _always(
            "The file loaded for longer than `model_start_timeout` allows: have it load less, and "
            "download nothing, or have the operator raise the setting."
        ),
    ),
    (
        r"^it did not answer within",
        _always(
            "The example took longer than `model_request_timeout` allows: make the function "
            "faster, choose a smaller example, or have the operator raise the setting."
        ),
    ),
    (
        r"^AttributeError: \S+ defines no '",
        _always("Name one of the functions that the file defines, as FILE:FUNCTION."),
    ),
]
