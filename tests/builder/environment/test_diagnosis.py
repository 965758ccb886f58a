"""The last lines of a failed script become a problem and an advice."""

import pytest

from builder.environment.diagnosis import CAUSES, FALLBACK, LIMITS, RULES, explain
from workers.limits import CgroupCounters, Limits, explain_exit
from workers.process.process import describe_status


@pytest.mark.parametrize(
    ("lines", "problem", "advice"),
    [
        (
            [
                "ERROR: Could not find a version that satisfies the requirement scikit==9",
                "ERROR: No matching distribution found for scikit==9",
                "",
                "[notice] A new release of pip is available",
            ],
            "ERROR: No matching distribution found for scikit==9",
            "kernel",
        ),
        (
            ["ERROR: Could not open requirements file: [Errno 2] No such file: 'r.txt'"],
            "ERROR: Could not open requirements file: [Errno 2] No such file: 'r.txt'",
            ".gitignore",
        ),
        (
            ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'x'"],
            "ModuleNotFoundError: No module named 'x'",
            "requirements",
        ),
        (
            ["WARNING: Retrying: NewConnectionError('Temporary failure in name resolution')"],
            "WARNING: Retrying: NewConnectionError('Temporary failure in name resolution')",
            "index",
        ),
        (
            [
                "error: Failed to build `app @ file:///home/cdsw`",
                "         error: Multiple top-level packages discovered in a flat-layout: ['a'].",
                "hint: Build failures usually indicate a problem with the package",
            ],
            "error: Multiple top-level packages discovered in a flat-layout: ['a'].",
            "List the dependencies in requirements.txt",
        ),
        (
            ["  x.ModuleOrPackageNotFoundError: No file/folder found for package app"],
            "x.ModuleOrPackageNotFoundError: No file/folder found for package app",
            "List the dependencies in requirements.txt",
        ),
        (
            ["ValueError: Unable to determine which files to ship inside the wheel using the", ""],
            "ValueError: Unable to determine which files to ship inside the wheel using the",
            "List the dependencies in requirements.txt",
        ),
        (
            ["ERROR: ../lib is not a valid editable requirement. It should either be a path"],
            "ERROR: ../lib is not a valid editable requirement. It should either be a path",
            "outside of the deployed folder",
        ),
        (
            ["  cause: failed to read from file `/home/cdsw/../r.txt`: No such file (os error 2)"],
            "failed to read from file `/home/cdsw/../r.txt`: No such file (os error 2)",
            "outside of the deployed folder",
        ),
        (
            ["  cause: Distribution not found at: file:///home/mono/lib"],
            "Distribution not found at: file:///home/mono/lib",
            "outside of the deployed folder",
        ),
        (["OSError: [Errno 28] No space left on device"], "OSError: [Errno 28] No space", "disk"),
        (
            [
                "  The 'sklearn' PyPI package is deprecated, use 'scikit-learn'",
                "error: metadata-generation-failed",
            ],
            "The 'sklearn' PyPI package is deprecated",
            "Install `scikit-learn`",
        ),
        (
            [
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
                "    six from https://x/six.whl:",
                "        Expected sha256 00",
            ],
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
            "update the hashes",
        ),
        (
            ["E: Could not open lock file /var/lib/dpkg/lock (13: Permission denied)"],
            "E: Could not open lock file",
            "Ask the operator to install system packages",
        ),
        (
            [
                "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
                "'NameResolutionError(\"Failed to resolve 'packages.example'\")': /simple/joblib/",
                "ERROR: Could not find a version that satisfies the requirement joblib==0.17.0",
                "ERROR: No matching distribution found for joblib==0.17.0",
            ],
            "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by",
            "A host could not be reached",
        ),
        (
            [
                "  fatal: unable to access 'https://code.example/x/': Could not resolve host: "
                "code.example",
                "  error: subprocess-exited-with-error",
                "ERROR: Failed to build 'x' when git clone --filter=blob:none --quiet",
            ],
            "fatal: unable to access 'https://code.example/x/'",
            "A host could not be reached",
        ),
        (
            [
                "  \u00d7 Getting requirements to build wheel did not run successfully.",
                "      ModuleNotFoundError: No module named 'pkg_resources'",
                "ERROR: Failed to build 'pandas' when getting requirements to build wheel",
            ],
            "ERROR: Failed to build 'pandas'",
            "choose an older Python",
        ),
        (
            [
                "  \u00d7 Getting requirements to build wheel did not run successfully.",
                "      The 'sklearn' PyPI package is deprecated, use 'scikit-learn'",
                "ERROR: Failed to build 'sklearn' when getting requirements to build wheel",
            ],
            "The 'sklearn' PyPI package is deprecated",
            "Install `scikit-learn`",
        ),
        (["error: externally-managed-environment"], "error: externally", "Call `pip`"),
        (["something else", "  ", ""], "something else (exit status 1)", FALLBACK),
        ([], "it printed nothing (exit status 1)", FALLBACK),
    ],
)
def test_explanation_is_the_last_known_line(lines: list[str], problem: str, advice: str) -> None:
    """The problem is the last line that a rule matches."""
    found, told = explain(1, lines)
    assert found.startswith(problem)
    assert advice in told


def test_killed_script_has_no_diagnosis_of_its_output() -> None:
    """A script that was killed did not fail by its output."""
    assert explain(-9, ["fine"])[0] == "it was killed by SIGKILL"
    assert explain(-33, ["fine"])[0] == "it was killed by signal 33"


@pytest.mark.parametrize(
    ("toll", "advice"),
    [
        (CgroupCounters(memory_kills=1), "stop a model"),
        (CgroupCounters(memory_kills=1, met_own=True), "stop a model"),
        (CgroupCounters(forks_refused=1), "fewer processes"),
    ],
)
@pytest.mark.parametrize("status", [-9, 1])
def test_limit_of_a_script_is_the_diagnosis(status: int, toll: CgroupCounters, advice: str) -> None:
    """A script that reached a limit failed by that limit, and the advice names it."""
    verdict = explain_exit(status, describe_status(status), toll, Limits(memory=64, processes=9))
    found, told = explain(
        status, ["bash: command not found", f"[predictd] the script {verdict.text}"]
    )
    assert found == f"it {verdict.text}"
    assert advice in told


def test_every_rule_has_advice() -> None:
    """Advice is a sentence."""
    pieces = [advice for _, advice in [*CAUSES, *RULES]] + [advice for _, advice in LIMITS]
    assert all(advice[0].isupper() and advice.endswith(".") for advice in pieces)
