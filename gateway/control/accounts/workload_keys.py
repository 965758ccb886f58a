"""Keys of engines: a model or a run acts by one, in its own project, for the user who started it.

One is made for each deployment and each run, and lives as long as that: it is in no store and no
file, only in the environment of what runs. What it opens is said by `WORKLOAD_PERMISSIONS` in
permissions.py, as far as its user may still do that: a model looks, calls and measures; a run
builds and deploys too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.control.context import ControlContext
from gateway.identity.keys import new_key
from gateway.identity.permissions import WorkloadKind
from store import Key


@contextmanager
def workload_key(
    context: ControlContext, user_name: str, project_id: str, kind: WorkloadKind
) -> Iterator[dict[str, str]]:
    """The variables by which projects written for CDSW find their key; it is none after the block.

    None at all where there is no such user any more.
    """
    user = context.accounts.user(user_name)
    if user is None:
        yield {}
        return
    made = new_key("engine")
    key = Key(id=made.id, kind="engine", user_id=user.id, digest=made.digest)
    context.accounts.put_workload(key, project_id, kind)
    context.endpoints.refresh_permissions(project_id)
    try:
        yield {"CDSW_APIV2_KEY": made.text, "CDSW_API_KEY": made.text}
    finally:
        context.accounts.forget_workload(key.id)
        context.endpoints.refresh_permissions(project_id)
