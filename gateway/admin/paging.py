"""Lists, page by page: `page_size`, `page_token`, `search_filter` and `sort`, as v2 has them.

A list may have 100,000 entries, as a folder of files does. To cut a page out of it costs nothing;
to look through all of it is done in a thread, in pieces: one long call into C, such as the sorting
of all of it, would hold up the loop all the same. What a filter may ask of each entry is bounded.
"""

import json
import re
from heapq import merge
from typing import Any, NamedTuple

import msgspec
import trio
from quart import request

from gateway.errors import Refusal

# What a list may be asked for.
PAGED = ("page_size", "page_token", "search_filter", "sort")
_DEFAULT_SIZE = 10
_MOST = 1000
# A page ends early where its items are large: to make JSON of more would take over a millisecond.
_MOST_BYTES = 512 * 1024
_LONGEST_FILTER, _LONGEST_SORT = 1000, 100
# Fields that a filter names, and how deep one may lie: each costs a look for each entry.
MOST_FIELDS, DEEPEST = 10, 5
# So many entries are sorted by one call.
_RUN = 1000

Item = dict[str, Any]


class _Asked(NamedTuple):
    """What a request asks of a list: fields and their values, and what it is sorted by."""

    wanted: dict[str, Any]
    sort: str


async def page(plural: str, items: list[Item]) -> dict[str, Any]:
    """The page that the request asks for. `items` ascend by creation."""
    asked = _Asked(_filter(), _sort())
    if asked.wanted or asked.sort:
        items = await trio.to_thread.run_sync(_looked_through, items, asked)
    size = whole_number("page_size", _DEFAULT_SIZE, most=_MOST)
    start = whole_number("page_token", 0, most=len(items))
    shown: list[msgspec.Raw] = []
    left = _MOST_BYTES
    for item in items[start : start + size]:
        told = msgspec.json.encode(item)
        left -= len(told)
        if shown and left < 0:
            break
        shown.append(msgspec.Raw(told))
    end = start + len(shown)
    return {plural: shown, "next_page_token": str(end) if len(items) > end else ""}


def _filter() -> dict[str, Any]:
    """The fields that the request asks for, and their values. Raises Refusal."""
    text = request.args.get("search_filter", "")
    if not text:
        return {}
    if len(text) > _LONGEST_FILTER:
        problem = f"search_filter: it may have {_LONGEST_FILTER} characters"
        raise Refusal("argument.invalid", problem)
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("argument.invalid", "search_filter: it is not JSON") from None
    if not isinstance(wanted, dict):
        raise Refusal("argument.invalid", 'search_filter: give an object such as {"name":"x"}')
    if len(wanted) > MOST_FIELDS:
        problem = f"search_filter: it may have {MOST_FIELDS} fields"
        raise Refusal("argument.invalid", problem)
    for name in wanted:
        _check_depth("search_filter", name)
    return wanted


def _sort() -> str:
    """What the request sorts by; "" for nothing. Raises Refusal."""
    sort = request.args.get("sort", "").strip()
    if len(sort) > _LONGEST_SORT:
        raise Refusal("argument.invalid", f"sort: it may have {_LONGEST_SORT} characters")
    _check_depth("sort", sort)
    return sort


def _check_depth(what: str, name: str) -> None:
    if name.count(".") >= DEEPEST:
        problem = f"{what}: a field lies at most {DEEPEST} deep"
        raise Refusal("argument.invalid", problem)


def _looked_through(items: list[Item], asked: _Asked) -> list[Item]:
    """Those that are asked for, sorted. Raises Refusal."""
    if asked.wanted:
        items = [i for i in items if all(_fits(_look_up(i, k), v) for k, v in asked.wanted.items())]
    return _sorted(items, asked.sort) if asked.sort else items


def _fits(value: object, wanted: object) -> bool:
    """Texts may be parts, in any case, as in CDSW."""
    if isinstance(value, str) and isinstance(wanted, str):
        return wanted.lower() in value.lower()
    return value == wanted


def _sorted(items: list[Item], sort: str) -> list[Item]:
    name, reverse = sort.lstrip("+-"), sort.startswith("-")
    if items and all(_look_up(item, name) is None for item in items):
        raise Refusal("argument.invalid", f"sort: there is no {name!r} to sort by")

    def key(item: Item) -> tuple[int, float, str]:
        return _rank(_look_up(item, name))

    starts = range(0, len(items), _RUN)
    runs = [sorted(items[at : at + _RUN], key=key, reverse=reverse) for at in starts]
    return list(merge(*runs, key=key, reverse=reverse))


def _rank(value: object) -> tuple[int, float, str]:
    """Nothing comes before numbers, those before texts."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, int | float):
        return (1, value, "")
    return (2, 0, str(value))


def _look_up(item: Item, path: str) -> Any:
    """`creator.username` of an item; None where there is no such thing."""
    value: Any = item
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def whole_number(name: str, default: int, *, most: int = 999_999_999) -> int:
    """The number that the query says. Raises Refusal("argument.invalid")."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,9}", text) or (name == "page_size" and int(text) == 0):
        raise Refusal("argument.invalid", f"{name}: {text!r} does not fit")
    return min(int(text), most)
