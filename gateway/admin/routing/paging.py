"""Lists, page by page: `page_size`, `page_token`, `search_filter` and `sort`, as in CDSW's v2.

A list may have 100,000 items, such as the files of a folder. A page is cut out of it at no cost.
Filtering and sorting run in a thread, in pieces: one long call into C, such as sorting the whole
list, would block the loop even from a thread. What a filter may ask of each item is bounded.
"""

import json
from heapq import merge
from typing import Any, NamedTuple

import msgspec
import trio

from gateway.admin.routing import parameters
from gateway.errors import Refusal

# The parameters of a list's query.
PAGED = ("page_size", "page_token", "search_filter", "sort")
_DEFAULT_SIZE = 10
_MAX_SIZE = 1000
# A page ends early where its items are large: encoding more JSON would take over a millisecond.
_MAX_BYTES = 512 * 1024
_LONGEST_FILTER, _LONGEST_SORT = 1000, 100
# Fields in a filter, and how deeply a field may be nested: each costs a look-up for each item.
MAX_FIELDS, MAX_DEPTH = 10, 5
# Items that one call sorts.
_RUN = 1000

Item = dict[str, Any]


class _Query(NamedTuple):
    """What a request asks of a list: fields with their values, and the field to sort by."""

    wanted: dict[str, Any]
    sort: str


async def page(plural: str, items: list[Item]) -> dict[str, Any]:
    """The page that the request asks for. `items` ascend by creation."""
    query = _Query(_filter(), _sort())
    if query.wanted or query.sort:
        items = await trio.to_thread.run_sync(_apply, items, query)
    size = parameters.limit("page_size", _DEFAULT_SIZE, least=1, most=_MAX_SIZE)
    start = parameters.limit("page_token", 0, most=len(items))
    shown: list[msgspec.Raw] = []
    left = _MAX_BYTES
    for item in items[start : start + size]:
        encoded = msgspec.json.encode(item)
        left -= len(encoded)
        if shown and left < 0:
            break
        shown.append(msgspec.Raw(encoded))
    end = start + len(shown)
    return {plural: shown, "next_page_token": str(end) if len(items) > end else ""}


def _filter() -> dict[str, Any]:
    """The fields that the request filters by, and their values. Raises Refusal."""
    text = parameters.text("search_filter")
    if not text:
        return {}
    if len(text) > _LONGEST_FILTER:
        problem = f"search_filter is longer than {_LONGEST_FILTER} characters"
        raise Refusal("argument.invalid", problem)
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("argument.invalid", "search_filter is not JSON") from None
    if not isinstance(wanted, dict):
        raise Refusal("argument.invalid", 'search_filter is not an object such as {"name":"x"}')
    if len(wanted) > MAX_FIELDS:
        problem = f"search_filter has more than {MAX_FIELDS} fields"
        raise Refusal("argument.invalid", problem)
    for name in wanted:
        _check_depth("search_filter", name)
    return wanted


def _sort() -> str:
    """The field that the request sorts by, or "". Raises Refusal."""
    sort = parameters.text("sort").strip()
    if len(sort) > _LONGEST_SORT:
        raise Refusal("argument.invalid", f"sort is longer than {_LONGEST_SORT} characters")
    _check_depth("sort", sort)
    return sort


def _check_depth(what: str, name: str) -> None:
    if name.count(".") >= MAX_DEPTH:
        problem = f"{what}: a field is nested more than {MAX_DEPTH} deep"
        raise Refusal("argument.invalid", problem)


def _apply(items: list[Item], query: _Query) -> list[Item]:
    """The items that match the query, sorted. Raises Refusal."""
    if query.wanted:
        wanted = query.wanted.items()
        items = [i for i in items if all(_matches(_look_up(i, name), v) for name, v in wanted)]
    return _sorted(items, query.sort) if query.sort else items


def _matches(value: object, wanted: object) -> bool:
    """A text matches a part of it, in any case, as in CDSW."""
    if isinstance(value, str) and isinstance(wanted, str):
        return wanted.lower() in value.lower()
    return value == wanted


def _sorted(items: list[Item], sort: str) -> list[Item]:
    name, reverse = sort.lstrip("+-"), sort.startswith("-")
    if items and all(_look_up(item, name) is None for item in items):
        raise Refusal("argument.invalid", f"sort: the items have no field {name!r}")

    def key(item: Item) -> tuple[int, float, str]:
        return _rank(_look_up(item, name))

    starts = range(0, len(items), _RUN)
    runs = [sorted(items[at : at + _RUN], key=key, reverse=reverse) for at in starts]
    return list(merge(*runs, key=key, reverse=reverse))


def _rank(value: object) -> tuple[int, float, str]:
    """The order: none, then numbers, then texts."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, int | float):
        return (1, value, "")
    return (2, 0, str(value))


def _look_up(item: Item, path: str) -> Any:
    """A field such as `creator.username` of an item, or None."""
    value: Any = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
