"""How to call a model, as text to copy: curl, Python, R.

Law: each sample can be pasted as it stands, whatever the example contains. Two layers of quoting do
that: the request is JSON in ASCII, and that JSON is then quoted for the language it is pasted into.
"""

import json
import shlex
from typing import NamedTuple


class Samples(NamedTuple):
    """The same call in three languages."""

    curl: str
    python: str
    r: str


def samples(url: str, access_key: str, example: object) -> Samples:
    """The calls that post `example` (any JSON value) to the model at `url` (of `POST /model`)."""
    body = json.dumps({"accessKey": access_key, "request": example})
    return Samples(_curl(url, body), _python(url, access_key, example), _r(url, body))


def _curl(url: str, body: str) -> str:
    return (
        f"curl -H 'Content-Type: application/json' -X POST {shlex.quote(url)} "
        f"-d {shlex.quote(body)}"
    )


def _python(url: str, access_key: str, example: object) -> str:
    return f"""\
import json, urllib.request

body = json.dumps({{"accessKey": {access_key!a}, "request": {example!a}}}).encode()
headers = {{"Content-Type": "application/json"}}
request = urllib.request.Request({url!a}, body, headers)
print(json.load(urllib.request.urlopen(request))["response"])"""


def _r(url: str, body: str) -> str:
    # The escapes that JSON needs for ASCII text, \\" and \\\\, mean the same to R.
    return f"""\
library(httr)
response <- POST({json.dumps(url)}, body = {json.dumps(body)}, content_type_json())
content(response)$response"""
