"""Why a model's file did not run, and what to do about it.

Python says what went wrong; the remedy depends on what Python does not know: what
`.gitignore` left out of the build, that there was no build script, which variables were given. Each
cause has its text in `_CAUSES`; the first that matches is used.
"""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from builder import DEFAULT_SCRIPT, resolve_beneath, submodules

# What is installed by another name than it is imported by.
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
_LONGEST = 8000  # characters of a traceback's end that are looked through
_HOME = "/home/cdsw/"
CORRECT = "Correct the file; the log has the rest."


class SourceFiles(msgspec.Struct, frozen=True):
    """The build of a model, or of what scripts run in: its files, the root and the file in them,
    whether it has a build script, and the project's own folder where that is known."""

    code: Path
    model_root: str
    file: str
    has_script: bool
    project: Path | None = None
    is_script: bool = False

    @property
    def root(self) -> str:
        """From which paths are relative, in words."""
        return "the project's root" if self.is_script else "the model's root"


def script_source(code: Path, script: str, project: Path) -> SourceFiles:
    """Of an experiment, whose script is run from the root of its project."""
    has_script = (code / DEFAULT_SCRIPT).is_file()
    return SourceFiles(code, "", script, has_script=has_script, project=project, is_script=True)


def remedy(summary: str, detail: str, source: SourceFiles) -> str:
    """What to do about a file that raised: `summary` is its exception, `detail` the traceback."""
    text = f"{summary}\n{detail[-_LONGEST:]}"
    for pattern, told in _CAUSES:
        if found := re.search(pattern, text, re.DOTALL):
            return told(found, source)
    return CORRECT


def _missing_variable(found: re.Match[str], source: SourceFiles) -> str:
    name = found[1]
    if source.is_script:
        return f"Set the variable {name} for the project, as one that is shown or as a secret."
    return (
        f"Give the variable with the deployment (`predictd deploy --env {name}=VALUE`), or set it "
        "for the project. A build without a deployment is tried out with the variables of the "
        "model's present one."
    )


def _missing_module(found: re.Match[str], source: SourceFiles) -> str:
    module = found[1]
    top = module.partition(".")[0]
    folder = PurePosixPath(source.file).parent
    beside = PurePosixPath(source.model_root, folder)
    if folder.parts and _has_module(source.code, beside, top):
        return (
            f"`{top}` lies beside the file, but modules are found from the model's root: write "
            f"`from {'.'.join(folder.parts)} import {top}`, or make {str(beside)!r} the model's "
            "root."
        )
    if source.project and _has_module(source.project, PurePosixPath(source.model_root), top):
        return (
            f"`{top}` is a file of the project that is not in the build, because a .gitignore "
            "leaves it out: take it out of the .gitignore."
        )
    if advice := _of_submodule(source, PurePosixPath(source.model_root, top)):
        return advice
    name = _DISTRIBUTIONS.get(top, top)
    if source.has_script:
        return f"Have cdsw-build.sh install what `{top}` is in, such as `pip install {name}`."
    nothing = "Nothing is installed, because the project has no cdsw-build.sh"
    if (source.code / "requirements.txt").is_file():
        return (
            f"{nothing}, and a requirements.txt installs nothing by itself: add one with the line "
            "`pip install -r requirements.txt`."
        )
    return f"{nothing}: add one with the line `pip install {name}`."


def _missing_file(found: re.Match[str], source: SourceFiles) -> str:
    path = found[1]
    inner = path.removeprefix(_HOME)
    if inner.startswith("/"):
        return (
            f"{path} is not there for models and scripts: they see their project, the system, and "
            "the folders that the setting `shared_folders` names."
        )
    inside = PurePosixPath("" if path != inner else source.model_root, inner)
    if advice := _of_submodule(source, inside):
        return advice
    if source.project and _has(source.project, inside):
        return (
            f"{inner} is in the project, but not in the build, because a .gitignore leaves it out: "
            "take it out of the .gitignore, or have cdsw-build.sh make it."
        )
    return (
        f"Add {inner} to the project, or have cdsw-build.sh make it. Paths are relative to "
        f"{source.root}."
    )


def _of_submodule(source: SourceFiles, path: PurePosixPath) -> str:
    for each in submodules(source.code):
        if path.is_relative_to(each):
            return (
                f"{each} is a submodule that the clone did not bring: run `git submodule update "
                "--init` where the project comes from, and bring its files."
            )
    return ""


def _always(text: str) -> Callable[[re.Match[str], SourceFiles], str]:
    return lambda found, source: text


_OTHER_VERSION = _always(
    "A file was pickled with other versions of the libraries than the build has: have "
    "cdsw-build.sh install the versions that it was made with (`pip install NAME==VERSION`), or "
    "make it again."
)
# The summary is the first line; the rest is the traceback.
_CAUSES: list[tuple[str, Callable[[re.Match[str], SourceFiles], str]]] = [
    (
        r"invalid load key, 'v'|git-lfs\.github\.com",
        _always(
            "A file is a pointer of Git LFS instead of what it stands for: run `git lfs pull` "
            "where the project comes from, and bring the file itself."
        ),
    ),
    (
        r"^ValueError: unsupported pickle protocol",
        _always(
            "A file was pickled by a newer Python: build with that (`--kernel`), or make the file "
            "again."
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
            'A file was pickled by Python 2: load it with `encoding="latin1"`, or make it again.'
        ),
    ),
    (r"^KeyError: '([A-Za-z_]\w*)'(?=.*environ)", _missing_variable),
    (r"^ModuleNotFoundError: No module named '([\w.]+)'", _missing_module),
    (r"^FileNotFoundError: \[Errno 2\] No such file or directory: '([^']+)'", _missing_file),
    (
        r"^[^\n]*(?:CUDA|cuda|NVIDIA|libcu\w+\.so|No GPU|/dev/nvidia)",
        _always(
            'Models have no GPU and no devices: load on the CPU (`map_location="cpu"`, the CPU '
            "build of the library)."
        ),
    ),
    (
        r"^(?:ImportError|OSError): (\S+\.so[\w.]*): cannot open shared object file",
        lambda found, source: (
            f"The system library {found[1]} is not on this machine: have the operator install it, "
            "or use a package that does without (opencv-python-headless)."
        ),
    ),
    (
        r"^[^\n]*(?:JAVA_GATEWAY_EXITED|Java gateway process exited|No such file .*: 'java')",
        _always(
            "Spark's Java process did not start; what it printed is in the log. Where there is no "
            "`java` have the operator install one, and set JAVA_HOME where it is in no usual place."
        ),
    ),
    (
        r"^(?:SyntaxError|IndentationError|TabError)",
        _always("Correct the line that is named; a model's file is plain Python."),
    ),
    (
        r"^the model was not ready within",
        _always(
            "Loading took longer than `model_start_timeout` allows: have the operator raise it, or "
            "have the file load less (and download nothing)."
        ),
    ),
    (
        r"^it did not answer within",
        _always(
            "The example took longer than `model_request_timeout` allows: make the function "
            "quicker, choose a smaller example, or have the operator raise it."
        ),
    ),
    (
        r"^AttributeError: \S+ defines no '",
        _always("Name one of the functions that the file defines, as FILE:FUNCTION."),
    ),
]


def _has_module(root: Path, folder: PurePosixPath, name: str) -> bool:
    return _has(root, folder / f"{name}.py") or _has(root, folder / name)


def _has(root: Path, path: PurePosixPath) -> bool:
    """Whether there is such a file beneath `root`. The path is the model's word: what links lead to
    elsewhere is not looked at."""
    found = resolve_beneath(root, str(path))
    return found is not None and found.exists()
