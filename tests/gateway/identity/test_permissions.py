"""The table of permissions: who may do what, and that no role gets more by accident."""

import pytest

from gateway.identity.permissions import (
    MEANINGS,
    PUBLIC_PERMISSIONS,
    ROLES,
    Permission,
    may,
    of_role,
)
from store import Role

ALL = tuple(MEANINGS)
SIGNED_IN = {"any", "user"}
OPERATOR = {"project.view", "model.call", "metrics.add", "model.operate"}


@pytest.mark.parametrize(
    ("role", "has"),
    [
        ("viewer", {"project.view"}),
        ("operator", OPERATOR),
        ("contributor", OPERATOR | {"project.edit"}),
        ("admin", OPERATOR | {"project.edit", "project.administer"}),
        ("owner", OPERATOR | {"project.edit", "project.administer", "project.own"}),
    ],
)
def test_roles(role: Role, has: set[Permission]) -> None:
    """A role has exactly these, and those that everybody who is signed in has."""
    assert role in ROLES
    assert of_role(role) == has
    assert {needs for needs in ALL if may(needs, role=role)} == has | SIGNED_IN


def test_strangers() -> None:
    """Without a role one sees and calls what is public, and nothing of what is private."""
    private = {needs for needs in ALL if may(needs)}
    public = {needs for needs in ALL if may(needs, visibility="public")}
    assert private == SIGNED_IN
    assert public == private | set(PUBLIC_PERMISSIONS)


def test_oneself() -> None:
    """What is about oneself is one's own, and only that."""
    assert {needs for needs in ALL if may(needs, is_self=True)} == SIGNED_IN | {"self"}


def test_site_administrators() -> None:
    """They may do everything, everywhere."""
    assert all(may(needs, administrator=True) for needs in ALL)
