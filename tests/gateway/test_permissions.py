"""The table of permissions: who may do what, and that nobody gets more by accident."""

import pytest

from gateway.permissions import IN_PUBLIC, MEANINGS, ROLES, Permission, may, of_role

ALL = tuple(MEANINGS)


def test_everybody_else_has_the_public_ones_only() -> None:
    """Who is not signed in may do what is public, in public projects too."""
    for needs in ALL:
        for visibility in ("private", "public"):
            allowed = may(needs, signed_in=False, role="admin", visibility=visibility)
            assert allowed == (needs == "public"), needs


@pytest.mark.parametrize(
    ("role", "has"),
    [
        ("viewer", {"project.view"}),
        ("operator", {"project.view", "model.call", "model.operate"}),
        ("contributor", {"project.view", "model.call", "model.operate", "project.edit"}),
        (
            "admin",
            {"project.view", "model.call", "model.operate", "project.edit", "project.administer"},
        ),
    ],
)
def test_roles(role: str, has: set[Permission]) -> None:
    """A role has exactly these, and those that everybody who is signed in has."""
    assert role in ROLES
    assert of_role(role) == has
    allowed = {needs for needs in ALL if may(needs, signed_in=True, role=role)}
    assert allowed == has | {"public", "signed in"}


def test_strangers() -> None:
    """Without a role one sees and calls what is public, and nothing of what is private."""
    private = {needs for needs in ALL if may(needs, signed_in=True)}
    public = {needs for needs in ALL if may(needs, signed_in=True, visibility="public")}
    assert private == {"public", "signed in"}
    assert public == private | set(IN_PUBLIC)


def test_site_administrators() -> None:
    """They may do everything, everywhere."""
    assert all(may(needs, signed_in=True, administrator=True) for needs in ALL)
