"""Calls of a model to copy, in curl, Python, R and JavaScript.

Law: each sample works when pasted, for any example. The request is JSON in ASCII,
which is then quoted for the language.
"""

import json
import shlex
from typing import NamedTuple


class Samples(NamedTuple):
    """The same call in four languages."""

    curl: str
    python: str
    r: str
    javascript: str


def samples(url: str, access_key: str, example: object, api_key: str = "") -> Samples:
    """The calls that post `example` (any JSON value) to `url`, that of `POST /model`, with the
    caller's own key if the model requires one."""
    body = json.dumps({"accessKey": access_key, "request": example})
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    python = _python(url, access_key, example, headers)
    javascript = _javascript(url, body, headers)
    return Samples(_curl(url, body, headers), python, _r(url, body, api_key), javascript)


def _curl(url: str, body: str, headers: dict[str, str]) -> str:
    flags = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
    return f"curl {flags} -X POST {shlex.quote(url)} -d {shlex.quote(body)}"


def _python(url: str, access_key: str, example: object, headers: dict[str, str]) -> str:
    return f"""\
import json, urllib.request

body = json.dumps({{"accessKey": {access_key!a}, "request": {example!a}}}).encode()
headers = {json.dumps(headers)}
request = urllib.request.Request({url!a}, body, headers)
print(json.load(urllib.request.urlopen(request))["response"])"""


def _r(url: str, body: str, api_key: str) -> str:
    """By httr2, or by httr where that is what is installed."""
    header = f"Authorization = {json.dumps(f'Bearer {api_key}')}" if api_key else ""
    new = 'req_body_raw(request(url), body, type = "application/json")'
    if header:
        new = f"req_headers({new}, {header})"
    old = f", add_headers({header})" if header else ""
    # The escapes that JSON needs for ASCII text, \\" and \\\\, mean the same to R.
    return f"""\
url <- {json.dumps(url)}
body <- {json.dumps(body)}
answer <- if (requireNamespace("httr2", quietly = TRUE)) {{
  library(httr2)
  resp_body_json(req_perform({new}))
}} else {{
  library(httr)
  content(POST(url, body = body, content_type_json(){old}))
}}
answer$response"""


def _javascript(url: str, body: str, headers: dict[str, str]) -> str:
    # JSON in ASCII is JavaScript, too.
    return f"""\
const answer = await fetch({json.dumps(url)}, {{
  method: "POST",
  headers: {json.dumps(headers)},
  body: {json.dumps(body)},
}});
console.log((await answer.json()).response);"""
