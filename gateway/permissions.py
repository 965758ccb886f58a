"""Who may do what: one table, and the one function that reads it.

Every route of the admin API needs one permission. Whose it is follows from who asks: everybody has
those that are public; somebody who is signed in, those about themselves; in a project, those of the
role that they have there; a site administrator, all.
"""

from typing import Literal

from store import Role, Visibility

Permission = Literal[
    "public",
    "signed in",
    "project.view",
    "model.call",
    "model.operate",
    "project.edit",
    "project.administer",
    "site.administer",
]

# Each role may do what those before it may.
ROLES: dict[Role, tuple[Permission, ...]] = {
    "viewer": ("project.view",),
    "operator": ("model.call", "model.operate"),
    "contributor": ("project.edit",),
    "admin": ("project.administer",),
}
# What whoever is signed in may do in a public project.
IN_PUBLIC: tuple[Permission, ...] = ("project.view", "model.call")

MEANINGS: dict[Permission, str] = {
    "public": "nobody has to sign in",
    "signed in": "whoever is signed in, for themselves",
    "project.view": "see a project, its models, their logs",
    "model.call": "call its models with a key of one's own",
    "model.operate": "deploy, stop and restart",
    "project.edit": "change files and models, build",
    "project.administer": "say who may do what, delete",
    "site.administer": "users, settings, everybody's models",
}


def of_role(role: Role) -> frozenset[Permission]:
    """All that a role may do in its project."""
    roles = list(ROLES)
    return frozenset(p for each in roles[: roles.index(role) + 1] for p in ROLES[each])


_OF_ROLE = {role: of_role(role) for role in ROLES}


def may(
    needs: Permission,
    *,
    signed_in: bool,
    administrator: bool = False,
    role: Role | None = None,
    visibility: Visibility = "private",
) -> bool:
    """Whether somebody may do what `needs` this; the last two are of the project it is about."""
    if needs == "public":
        return True
    if not signed_in:
        return False
    if administrator or needs == "signed in":
        return True
    if role is not None and needs in _OF_ROLE[role]:
        return True
    return visibility == "public" and needs in IN_PUBLIC
