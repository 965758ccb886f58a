"""Turns a folder of project files into a sealed build: its code beside its own environment.

The builder knows nothing of records, replicas or HTTP; what it needs from them is passed in. See
README.md.
"""

from builder.build import BuildFailure, BuildReport
from builder.build import build as make_build
from builder.build_steps import CHECK, SNAPSHOT, SNAPSHOT_TAKEN, BuildSteps
from builder.build_store import BuildStore, Manifest
from builder.check.functions import FunctionCache, SourceFile, list_functions
from builder.check.project_check import (
    CheckFailed,
    CheckReport,
    CheckRequest,
    check_project,
    problem_here,
)
from builder.check.source import known_sources
from builder.environment.implicit_script import REQUIREMENT_FILES
from builder.environment.r.diagnosis import last_said
from builder.environment.r.packages import RPackage
from builder.environment.relocate import relocate
from builder.environment.seeds import Seeds, unused_seeds
from builder.errors import (
    BuilderError,
    CloneFailed,
    CloneRefused,
    InterpreterUnusable,
    ProbeFailed,
    RMissing,
    SnapshotFailed,
    UnknownKernel,
)
from builder.file_store.compile_environment import (
    compile_environment,
    is_compiled,
    remove_half_compiled,
)
from builder.file_store.links import add_to_store, link_files, prune, unused_files
from builder.files.depth import TooDeep, check_depth
from builder.files.fsync import exchange, make_folder, sync_file_system, sync_folder
from builder.files.path_references import find_path_reference
from builder.files.remove_tree import remove_tree
from builder.files.safe_open import Folder, NotAFile
from builder.files.small_file import read_small_file
from builder.git.address import RepositoryAddress, read_address
from builder.git.clone import CloneGuard, clone
from builder.git.names import is_git
from builder.git.ssh import with_identity
from builder.interpreter_download import MIRROR, download_interpreter, version_in
from builder.interpreters import (
    Interpreter,
    Language,
    discover,
    inspect,
    language_of_file,
    match,
    of_language,
    release_of,
)
from builder.lock.difference import Change as PackageChange
from builder.lock.difference import compare as compare_locks
from builder.lock.pylock import Lock, LockText, Package, UnreadableLock, read_lock
from builder.reuse.environment_store import EnvironmentManifest, EnvironmentStore
from builder.safe_paths import resolve_beneath
from builder.sealed_folders import SEAL
from builder.snapshot.changed_files import ChangedFile, changed_files
from builder.snapshot.contents import Contents, contents_of
from builder.snapshot.file_difference import FileDifference, file_difference
from builder.snapshot.folder_listing import FolderListing, list_folder
from builder.snapshot.hidden_path import hiding_line
from builder.snapshot.missing_content import submodules
from builder.snapshot.project_files import CACHES
from builder.snapshot.snapshot import (
    drop_snapshot,
    rename_snapshot,
    snapshots_in,
    take_snapshot,
    tree_of,
)
from builder.spec import DEFAULT_SCRIPT, BuildSpec, Log, Probe, Probed, Run, SandboxPaths, Snapshot

__all__ = [
    "CACHES",
    "CHECK",
    "DEFAULT_SCRIPT",
    "MIRROR",
    "REQUIREMENT_FILES",
    "SEAL",
    "SNAPSHOT",
    "SNAPSHOT_TAKEN",
    "BuildFailure",
    "BuildReport",
    "BuildSpec",
    "BuildSteps",
    "BuildStore",
    "BuilderError",
    "ChangedFile",
    "CheckFailed",
    "CheckReport",
    "CheckRequest",
    "CloneFailed",
    "CloneGuard",
    "CloneRefused",
    "Contents",
    "EnvironmentManifest",
    "EnvironmentStore",
    "FileDifference",
    "Folder",
    "FolderListing",
    "FunctionCache",
    "Interpreter",
    "InterpreterUnusable",
    "Language",
    "Lock",
    "LockText",
    "Log",
    "Manifest",
    "NotAFile",
    "Package",
    "PackageChange",
    "Probe",
    "ProbeFailed",
    "Probed",
    "RMissing",
    "RPackage",
    "RepositoryAddress",
    "Run",
    "SandboxPaths",
    "Seeds",
    "Snapshot",
    "SnapshotFailed",
    "SourceFile",
    "TooDeep",
    "UnknownKernel",
    "UnreadableLock",
    "add_to_store",
    "changed_files",
    "check_depth",
    "check_project",
    "clone",
    "compare_locks",
    "compile_environment",
    "contents_of",
    "discover",
    "download_interpreter",
    "drop_snapshot",
    "exchange",
    "file_difference",
    "find_path_reference",
    "hiding_line",
    "inspect",
    "is_compiled",
    "is_git",
    "known_sources",
    "language_of_file",
    "last_said",
    "link_files",
    "list_folder",
    "list_functions",
    "make_build",
    "make_folder",
    "match",
    "of_language",
    "problem_here",
    "prune",
    "read_address",
    "read_lock",
    "read_small_file",
    "release_of",
    "relocate",
    "remove_half_compiled",
    "remove_tree",
    "rename_snapshot",
    "resolve_beneath",
    "snapshots_in",
    "submodules",
    "sync_file_system",
    "sync_folder",
    "take_snapshot",
    "tree_of",
    "unused_files",
    "unused_seeds",
    "version_in",
    "with_identity",
]
