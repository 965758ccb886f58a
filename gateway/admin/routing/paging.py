"""Lists, page by page: `page_size`, `page_token`, `search_filter` and `sort`, as in CDSW's v2.

A list may have 100,000 items, such as the files of a folder. A page is cut out of it at no cost.
Filtering and sorting run in a thread, in pieces: one long call into C, such as sorting the whole
list, would block the loop even from a thread. What a filter may ask of each item is bounded.

Lists that grow with use, such as the builds of a model, are selected by the database (`page_of`).
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from heapq import merge
from typing import Any, NamedTuple, TypeVar

import msgspec
import trio

from gateway.admin.routing import parameters
from gateway.control.records import ListPart
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
_LONGEST_LIST = 10**9
ID_LENGTH = 36
# Items that one call sorts, and that are made or encoded in one step.
_RUN = 1000
_TURN = 20

Item = dict[str, Any]
R = TypeVar("R")


class _Query(NamedTuple):
    """What a request asks of a list: fields with their values, and the field to sort by."""

    wanted: dict[str, Any]
    sort: str


class Columns(NamedTuple):
    """The columns that fields of a list's items are: those to sort by, and texts to filter by."""

    order: Mapping[str, str]
    texts: Mapping[str, str]


async def page(plural: str, items: Sequence[Item]) -> dict[str, Any]:
    """The page that the request asks for. `items` ascend by creation."""
    query = _Query(_filter(), _sort())
    if query.wanted or query.sort:
        items = await trio.to_thread.run_sync(_apply, items, query)
    start = parameters.limit("page_token", 0, most=len(items))
    return await _page(plural, items[start : start + _size() + 1], start)


async def page_of(
    plural: str,
    columns: Columns,
    read: Callable[[ListPart | None], Awaitable[list[R]]],
    to_items: Callable[[Sequence[R]], Awaitable[Sequence[Item]]],
) -> dict[str, Any]:
    """As `page`, of a list in the database. Only the rows of the page are read where the request
    filters and sorts by columns; `read(None)` returns all rows."""
    part = _part(_Query(_filter(), _sort()), columns)
    if part is None:
        return await page(plural, await to_items(await read(None)))
    return await _page(plural, await to_items(await read(part)), part.offset)


async def in_turns(rows: Iterable[R], to_item: Callable[[R], Item]) -> list[Item]:
    """The items of rows. Other tasks run in between: each takes some microseconds."""
    items: list[Item] = []
    for row in rows:
        if len(items) % _TURN == _TURN - 1:
            await trio.lowlevel.checkpoint()
        items.append(to_item(row))
    return items


async def _page(plural: str, items: Sequence[Item], start: int) -> dict[str, Any]:
    """The page that begins with the first of these items, which are one more than fit on it."""
    shown: list[msgspec.Raw] = []
    left = _MAX_BYTES
    for item in items[: _size()]:
        if len(shown) % _TURN == 0:
            await trio.lowlevel.checkpoint()
        encoded = msgspec.json.encode(item)
        left -= len(encoded)
        if shown and left < 0:
            break
        shown.append(msgspec.Raw(encoded))
    more = str(start + len(shown)) if len(items) > len(shown) else ""
    return {plural: shown, "next_page_token": more}


def _size() -> int:
    return parameters.limit("page_size", _DEFAULT_SIZE, least=1, most=_MAX_SIZE)


def _part(query: _Query, columns: Columns) -> ListPart | None:
    """The rows that the request asks for; None where the database cannot tell which."""
    name = query.sort.lstrip("+-")
    equal, containing = dict[str, object](), dict[str, str]()
    for field, value in query.wanted.items():
        if not isinstance(value, str) or not value.isascii():
            return None
        if field == "id" and len(value) == ID_LENGTH:
            equal[field] = value.lower()
        elif field in columns.texts:
            containing[columns.texts[field]] = value
        else:
            return None
    if name and name not in columns.order:
        return None
    return ListPart(
        equal=equal,
        containing=containing,
        order=columns.order[name] if name else "number",
        descending=query.sort.startswith("-"),
        offset=parameters.limit("page_token", 0, most=_LONGEST_LIST),
        limit=_size() + 1,
    )


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


def _apply(items: Sequence[Item], query: _Query) -> Sequence[Item]:
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


def _sorted(items: Sequence[Item], sort: str) -> Sequence[Item]:
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
