"""What the page of an error says: what happened, who must act and how, and where to go. Pure.

The advice of the catalogue is for programs and the command line; what users of pages do instead is
in a table here. Advice that is given with one error is shown as it is.
"""

from http import HTTPStatus
from typing import NamedTuple

from gateway.errors import CATALOGUE, Code, Refusal, Who

_HEADINGS = {
    400: "Request refused",
    401: "Sign in first",
    403: "You may not do this",
    404: "Page not found",
    405: "This address takes no such request",
    409: "Not possible now",
    413: "Too large",
    415: "This is not a form",
    421: "Unknown host name",
    429: "Too many requests",
    500: "Internal error",
    503: "Not available now",
    507: "No space left",
}
_WHO: dict[Who, str] = {
    "caller": "What you can do:",
    "author": "The author of the model must act:",
    "retry": "Try again later:",
    "operator": "The operator of this gateway must act:",
    "server": "This is a defect of predictd:",
}
_GONE = "it was deleted, or you may not view it: ask the project's owner to add you"
# What users of pages do, where it is not what programs do.
_ADVICE: dict[Code, str] = {
    "auth.required": "sign in",
    "auth.refused": "try again; a site administrator can set a new password",
    "auth.csrf": "go back, load the page again, and send the form once more",
    "auth.password": "choose a password in User Settings",
    "route.notfound": "check the address, or search for the project or model by its name",
    "route.method": "open the page by its link, and use its buttons",
    "request.toolarge": "send less, or upload the data as a file of the project",
    "request.media": "send the form from its page",
    "request.host": "use a name of this gateway, or add this one to `allowed_hosts`",
    "gateway.overloaded": "wait a few seconds, then load the page again",
    "internal": "send the operator of this gateway the number of the request; the traceback is in"
    " the gateway's log",
    "project.notfound": _GONE,
    "model.notfound": _GONE,
    "experiment.notfound": _GONE,
    "build.notfound": "it was deleted: see the list of builds",
    "deployment.notfound": "it was deleted with its model, or the address is wrong",
    "runtime.notfound": "see the list of runtimes in Site Administration",
    "user.notfound": "see the list of users in Site Administration",
    "key.notfound": "it was revoked already: see the list of keys",
    "membership.notfound": "see the list of collaborators",
    "setting.notfound": "see the list of settings in Site Administration",
    "session.notfound": "it has ended: start another one",
    "kernel.unknown": "pick a runtime from the list",
    "model.accesskey": "use the access key of the model's page",
}
_PLACES: dict[str, tuple[str, str]] = {
    "project": ("/projects", "Projects"),
    "model": ("/models", "Models"),
}


class ErrorPage(NamedTuple):
    """The texts and links of the page."""

    heading: str
    who: str
    how: str
    links: list[tuple[str, str]]


def error_page(refused: Refusal, *, signed_in: bool, back: str, again: str) -> ErrorPage:
    """`back` is the page that the user comes from, `again` the address of what can be tried again;
    "" for none."""
    kind = refused.kind
    how = refused.advice
    if how == CATALOGUE[refused.code].advice:
        how = _ADVICE.get(refused.code, how)
    if wait := refused.headers.get("Retry-After"):
        how = f"{how} (in {wait} s)"
    links = []
    if not signed_in:
        links.append(("/sign-in", "Sign in"))
    if kind.who == "retry" and again:
        links.append((again, "Try again"))
    if back:
        links.append((back, "Back"))
    place = _PLACES.get(refused.code.partition(".")[0])
    if signed_in and place is not None:
        links.append(place)
    if signed_in:
        links.append(("/", "Home"))
    usual = _HEADINGS[HTTPStatus.INTERNAL_SERVER_ERROR if kind.status >= 500 else 400]
    return ErrorPage(_HEADINGS.get(kind.status, usual), _WHO[kind.who], how, links)
