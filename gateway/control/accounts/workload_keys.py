"""Keys of workloads: a model or a run acts by one, in its own project, for the user who started it.

Each deployment and each run has one, for as long as it lives. The key is in no store and no file,
only in the environment of what runs. Its permissions are `WORKLOAD_PERMISSIONS` in permissions.py,
as far as its user has them too: a model views, calls and adds metrics; a run builds and deploys
too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.control.permission_changes import PermissionChanges, PermissionIndex
from gateway.identity.accounts import Accounts
from gateway.identity.keys import new_key
from gateway.identity.permissions import WorkloadKind
from store import Key


class WorkloadKeys:
    """Issues keys to models and runs."""

    def __init__(self, accounts: Accounts, permissions: PermissionChanges) -> None:
        self._accounts = accounts
        self._permissions = permissions

    @contextmanager
    def issued(
        self, user_name: str, project_id: str, kind: WorkloadKind
    ) -> Iterator[dict[str, str]]:
        """The variables by which projects written for CDSW find their key. The key is valid inside
        the block. There is none if the user does not exist any more."""
        user = self._accounts.user(user_name)
        if user is None:
            yield {}
            return
        made = new_key("workload")
        key = Key(id=made.id, kind="workload", user_id=user.id, digest=made.digest)
        self._permissions.apply_unwritten(PermissionIndex.workload_started, key, project_id, kind)
        try:
            yield {"CDSW_APIV2_KEY": made.text, "CDSW_API_KEY": made.text}
        finally:
            self._permissions.apply_unwritten(PermissionIndex.workload_ended, key, project_id)
