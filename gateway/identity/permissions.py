"""Who may do what: one table, and the one function that reads it.

Every route of the admin API needs one permission. Whose it is follows from who asks: somebody who
is signed in has those about themselves; in a project, those of the role that they have there; a
site administrator, all.
"""

from typing import Literal

from store import Role, Visibility

Permission = Literal[
    "identified",
    "signed in",
    "oneself",
    "project.view",
    "model.call",
    "metrics.add",
    "model.operate",
    "project.edit",
    "project.administer",
    "project.own",
    "site.administer",
]

# Each role may do what those before it may.
ROLES: dict[Role, tuple[Permission, ...]] = {
    "viewer": ("project.view",),
    "operator": ("model.call", "metrics.add", "model.operate"),
    "contributor": ("project.edit",),
    "admin": ("project.administer",),
    "owner": ("project.own",),
}
# What may be done by the key that a model or a run was given, in its own project, if its user may.
# A model answers strangers, so its key only looks, calls and measures. A run does what it was
# started for: train, build, deploy. To say who may do what it needs a key of its user's own: others
# may write the script.
WorkloadKind = Literal["model", "run"]
_LOOKS: tuple[Permission, ...] = ("project.view", "model.call", "metrics.add")
WORKLOAD_PERMISSIONS: dict[WorkloadKind, tuple[Permission, ...]] = {
    "model": _LOOKS,
    "run": (*_LOOKS, "model.operate", "project.edit"),
}
# What whoever is signed in may do in a public project.
PUBLIC_PERMISSIONS: tuple[Permission, ...] = ("project.view", "model.call")

MEANINGS: dict[Permission, str] = {
    "identified": "as below, and what runs with a key of its own",
    "signed in": "whoever is signed in",
    "oneself": "the user whom it is about",
    "project.view": "see a project, its models, their logs",
    "model.call": "call its models with a key of one's own",
    "metrics.add": "say what became known of its predictions",
    "model.operate": "deploy, stop and restart",
    "project.edit": "change files and models, build",
    "project.administer": "say who may do what",
    "project.own": "delete it, pass it on",
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
    administrator: bool = False,
    oneself: bool = False,
    role: Role | None = None,
    visibility: Visibility = "private",
) -> bool:
    """Whether somebody who is signed in may do what `needs` this: `oneself` where it is about them;
    the last two are of the project it is about."""
    if administrator or needs in ("identified", "signed in") or (needs == "oneself" and oneself):
        return True
    if role is not None and needs in _OF_ROLE[role]:
        return True
    return visibility == "public" and needs in PUBLIC_PERMISSIONS
