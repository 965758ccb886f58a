"""/audit: what was done and what was refused."""

import msgspec
from quart import request

import store
from gateway.admin.paging import whole_number
from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.admin.timestamps import moment
from gateway.control import Control
from store import AuditEntry

_DEFAULT_SIZE = 100
_MOST = 1000


def add_routes(routing: Router, control: Control) -> None:
    async def index() -> Json:
        """Ascending by number: the newest there are, or the newest before a number."""
        size = whole_number("page_size", _DEFAULT_SIZE, most=_MOST)
        before, since = whole_number("before", 0), request.args.get("since", "")
        await control.audit_log.flushed()
        entries = await control.context.database.read(
            store.audit.list_newest,
            after=whole_number("after", 0),
            before=before or None,
            who=request.args.get("who", ""),
            action=request.args.get("action", ""),
            since=store.as_text(moment("since", since)) if since else "",
            most=size + 1,
        )
        shown = entries[-size:]
        older = shown[0].number if len(entries) > size else None
        return {"entries": [_json(entry) for entry in shown], "next_before": older}

    routing.add(
        "GET",
        "/audit",
        "site.administer",
        "what was done and refused; `who`, begin of `action`, `since`; numbers `after`, `before`",
        index,
        query=("who", "action", "since", "after", "before", "page_size"),
    )


def _json(entry: AuditEntry) -> Json:
    told = msgspec.structs.asdict(entry)
    del told["id"], told["updated_at"]
    return told
