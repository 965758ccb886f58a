"""/audit: the audit log; /users/.../activity: what one user did."""

import msgspec

from gateway.admin.routing import parameters, route
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.records import AuditEntry, as_text

_DEFAULT_SIZE, _MAX_SIZE = 100, 1000


class AuditRoutes:
    def __init__(self, control: Control) -> None:
        self._audit_log = control.audit_log
        self._users = control.users

    @route.get(
        "/audit",
        "site.administer",
        "list audit entries by `who`, start of `action`, `since`; numbers `after`, `before`",
        query=("who", "action", "since", "after", "before", "page_size"),
    )
    async def list(self) -> Json:
        """In ascending order: the latest entries, or the latest before a number."""
        return await self._entries(parameters.text("who"), parameters.text("action"))

    @route.get(
        "/users/<username>/activity",
        "self",
        "list what a user did, from the audit log; parameters as of `/audit`",
        query=("action", "since", "after", "before", "page_size"),
    )
    async def of_user(self, username: str) -> Json:
        """As `list`, of one user; without the entries of an earlier user of this name."""
        user = self._users.get(username)
        return await self._entries(user.name, parameters.text("action"), user.created_at)

    async def _entries(self, who: str, action: str, earliest: str = "") -> Json:
        size = parameters.limit("page_size", _DEFAULT_SIZE, least=1, most=_MAX_SIZE)
        since = parameters.moment("since")
        entries = await self._audit_log.entries(
            after=parameters.whole_number("after", 0),
            before=parameters.whole_number("before", 0) or None,
            who=who,
            action=action,
            since=max(as_text(since) if since else "", earliest),
            most=size + 1,
        )
        shown = entries[-size:]
        older = shown[0].number if len(entries) > size else None
        return {"entries": [_json(entry) for entry in shown], "next_before": older}


def _json(entry: AuditEntry) -> Json:
    fields = msgspec.structs.asdict(entry)
    del fields["id"], fields["updated_at"]
    return fields
