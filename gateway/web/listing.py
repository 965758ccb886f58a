"""A table on a page: which part of a list it shows, by the query of the page.

The query has `filter`, `sort` (a field, with `-` for descending) and `from`, the token of a page of
the API's list. So a link shows what its sender saw, and a long table costs only what it shows.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

ROWS = 50


class Column(NamedTuple):
    """A column of a table. It can be sorted by the field `sort` of the API's items."""

    label: str
    sort: str = ""
    number: bool = False


class Listing:
    """What the query of a page asks of its table, and the links to other parts of it."""

    def __init__(self, query: Mapping[str, str], *, field: str = "name", sort: str = "") -> None:
        """`field` of the items is what the filter looks at; `sort` is the order without a query."""
        self._query = dict(query)
        self._field = field
        self.filter = query.get("filter", "").strip()
        self.sort = query.get("sort", sort)
        self._from = query.get("from", "")
        self._next = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the API's list."""
        wanted = json.dumps({self._field: self.filter}) if self.filter else ""
        return {
            "page_size": ROWS,
            "page_token": self._from,
            "sort": self.sort,
            "search_filter": wanted,
        }

    def shown(self, page: Mapping[str, Any]) -> "Listing":
        """Take the token of the next part from the API's answer."""
        self._next = page["next_page_token"]
        return self

    @property
    def other(self) -> list[tuple[str, str]]:
        """What the filter's form keeps of the query."""
        return [(n, v) for n, v in self._query.items() if n not in ("filter", "from")]

    @property
    def later(self) -> str:
        return self._link(**{"from": self._next}) if self._next else ""

    @property
    def earlier(self) -> str:
        if not self._from.isdecimal() or self._from == "0":
            return ""
        before = max(0, int(self._from) - ROWS)
        return self._link(**{"from": str(before) if before else ""})

    def sorted_by(self, field: str) -> str:
        """The link that sorts by a field, in the other direction if it is sorted by it already."""
        return self._link(sort=f"-{field}" if self.sort == field else field, **{"from": ""})

    def order_of(self, field: str) -> str:
        """The value of `aria-sort` for the column of a field."""
        return {field: "ascending", f"-{field}": "descending"}.get(self.sort, "none")

    def _link(self, **changes: str) -> str:
        query = {**self._query, **changes}
        return "?" + urlencode({name: value for name, value in query.items() if value})
