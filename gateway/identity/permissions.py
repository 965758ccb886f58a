"""Who may do what: one table, and the one function that reads it.

Every route of the admin API needs one permission. A user has the permissions about themselves and,
in a project, those of their role. A site administrator has all permissions.
"""

from typing import Literal

from store import Role, Visibility

Permission = Literal[
    "any",
    "user",
    "self",
    "project.view",
    "model.call",
    "metrics.add",
    "model.operate",
    "project.edit",
    "project.administer",
    "project.own",
    "site.administer",
]

# Each role has its own permissions and those of the roles before it.
ROLES: dict[Role, tuple[Permission, ...]] = {
    "viewer": ("project.view",),
    "operator": ("model.call", "metrics.add", "model.operate"),
    "contributor": ("project.edit",),
    "admin": ("project.administer",),
    "owner": ("project.own",),
}
# The permissions of the key of a model or a run: in its own project only, and only while its user
# has them. A model serves unknown callers, so its key views, calls and adds metrics. A run trains,
# builds and deploys. It cannot administer the project, since other users may write its script.
WorkloadKind = Literal["model", "run"]
_READ_AND_CALL: tuple[Permission, ...] = ("project.view", "model.call", "metrics.add")
WORKLOAD_PERMISSIONS: dict[WorkloadKind, tuple[Permission, ...]] = {
    "model": _READ_AND_CALL,
    "run": (*_READ_AND_CALL, "model.operate", "project.edit"),
}
# The permissions of every user in a public project.
PUBLIC_PERMISSIONS: tuple[Permission, ...] = ("project.view", "model.call")

MEANINGS: dict[Permission, str] = {
    "any": "act as any user, model or run",
    "user": "act as any user",
    "self": "act as the user whom the request concerns",
    "project.view": "view a project, its models and their logs",
    "model.call": "call the project's models with a user's key",
    "metrics.add": "add metrics to predictions afterwards",
    "model.operate": "deploy, stop and restart models",
    "project.edit": "change files and models, build, run scripts",
    "project.administer": "manage collaborators and the project's settings",
    "project.own": "delete the project, transfer it",
    "site.administer": "manage users, settings and all projects",
}


def of_role(role: Role) -> frozenset[Permission]:
    """All permissions of a role in its project."""
    roles = list(ROLES)
    return frozenset(p for each in roles[: roles.index(role) + 1] for p in ROLES[each])


_OF_ROLE = {role: of_role(role) for role in ROLES}


def may(
    needs: Permission,
    *,
    administrator: bool = False,
    is_self: bool = False,
    role: Role | None = None,
    visibility: Visibility = "private",
) -> bool:
    """Whether a user has the permission `needs`. `is_self`: the request concerns this user; `role`
    and `visibility` are those in the project that the request concerns."""
    if administrator or needs in ("any", "user") or (needs == "self" and is_self):
        return True
    if role is not None and needs in _OF_ROLE[role]:
        return True
    return visibility == "public" and needs in PUBLIC_PERMISSIONS
