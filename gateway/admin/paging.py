"""Lists, page by page: `page_size`, `page_token`, `search_filter` and `sort`, as v2 has them."""

import json
import re
from typing import Any

import msgspec
from quart import request

from gateway.errors import Refusal

# What a list may be asked for.
PAGED = ("page_size", "page_token", "search_filter", "sort")
_DEFAULT_SIZE = 10
_MOST = 1000
# A page ends early where its items are large: to make JSON of more would take over a millisecond.
_MOST_BYTES = 512 * 1024
_LONGEST_FILTER, _LONGEST_SORT = 1000, 100


def page(plural: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The page that the request asks for. `items` ascend by creation."""
    items = _sorted(_matching(items))
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


def _matching(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose values are the filter's; texts may be parts, in any case, as in CDSW."""
    text = request.args.get("search_filter", "")
    if not text:
        return items
    if len(text) > _LONGEST_FILTER:
        problem = f"search_filter: it may have {_LONGEST_FILTER} characters"
        raise Refusal("argument.invalid", problem)
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("argument.invalid", "search_filter: it is not JSON") from None
    if not isinstance(wanted, dict):
        raise Refusal("argument.invalid", 'search_filter: give an object such as {"name":"x"}')
    return [i for i in items if all(_fits(_look_up(i, k), v) for k, v in wanted.items())]


def _fits(value: object, wanted: object) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return wanted.lower() in value.lower()
    return value == wanted


def _sorted(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    key = request.args.get("sort", "").strip()
    if not key:
        return items
    if len(key) > _LONGEST_SORT:
        raise Refusal("argument.invalid", f"sort: it may have {_LONGEST_SORT} characters")
    name = key.lstrip("+-")
    if items and all(_look_up(item, name) is None for item in items):
        raise Refusal("argument.invalid", f"sort: there is no {name!r} to sort by")
    return sorted(items, key=lambda i: _rank(_look_up(i, name)), reverse=key.startswith("-"))


def _rank(value: object) -> tuple[int, float, str]:
    """Nothing comes before numbers, those before texts."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, int | float):
        return (1, value, "")
    return (2, 0, str(value))


def _look_up(item: dict[str, Any], path: str) -> Any:
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
