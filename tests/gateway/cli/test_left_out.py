"""A file that was not uploaded is told with the line of the .gitignore that excludes it."""

from pathlib import Path

import pytest

from gateway.cli.left_out import left_out_hint

MISSING = "The model did not start: FileNotFoundError: [Errno 2] No such file or directory: {!r}"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("model.joblib", "line 1 of .gitignore (`*.joblib`)"),
        ("/home/cdsw/model.joblib", "line 1 of .gitignore (`*.joblib`)"),
        ("data/deep/set.csv", "line 2 of .gitignore (`data/`)"),
        ("src/own.bin", "line 1 of src/.gitignore (`own.*`)"),
        ("src/kept.txt", ""),
        ("absent.joblib", ""),
        ("/etc/passwd", ""),
        ("../sums/model.joblib", ""),
    ],
)
def test_missing_file_is_told_with_its_line(tmp_path: Path, path: str, told: str) -> None:
    """Only a file that the folder has, and that is excluded, has a hint."""
    for name in ("model.joblib", "data/deep/set.csv", "src/own.bin", "src/kept.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("*.joblib\ndata/\n")
    (tmp_path / "src/.gitignore").write_text("own.*\n")
    hint = left_out_hint(tmp_path, MISSING.format(path))
    assert (told in hint, bool(hint)) == (True, bool(told))


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("ModuleNotFoundError: No module named 'vendor.tools'", "vendor/tools.py was not uploaded"),
        ("ModuleNotFoundError: No module named 'numpy'", ""),
        ("Hint: It looks like a path. File './vendor/pkg' does not exist.", "vendor/pkg was not"),
        ("Distribution not found at: file:///home/cdsw/vendor/pkg", "vendor/pkg was not uploaded"),
        ("Because acme-thing was not found in the package registry and you", "wheels/acme_thing-1"),
        ("No matching distribution found for acme.thing", "wheels/acme_thing-1"),
        ("No matching distribution found for acme", ""),
    ],
)
def test_left_out_module_or_package_is_told(tmp_path: Path, problem: str, told: str) -> None:
    """What an import or a requirement misses is looked for among the files that were left out."""
    for name in (
        "vendor/pkg/setup.py",
        "vendor/tools.py",
        "wheels/acme_thing-1.0-py3-none-any.whl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("vendor/\n")
    (tmp_path / "wheels/.gitignore").write_text("*")
    hint = left_out_hint(tmp_path, problem)
    assert (told in hint, bool(hint)) == (True, bool(told)), hint
