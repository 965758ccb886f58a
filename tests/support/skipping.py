"""Skipping a test: for a tool that could be installed, or for what a machine is.

CI installs all tools, so there a test that skips for one has found a mistake (conftest). What a
machine does not allow (cgroups, mounts, tracing, being root) cannot be installed: say `not_here`.
"""

from typing import NoReturn

import pytest

NOT_HERE = "not on this machine: "


def not_here(why: str) -> NoReturn:
    """Skips the test, in CI too."""
    pytest.skip(NOT_HERE + why)
