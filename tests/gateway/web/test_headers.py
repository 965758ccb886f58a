"""What replies tell browsers, and how the cookie is given."""

from gateway.identity.session_cookie import session_cookie, session_in
from gateway.web.headers import security_headers


def test_page_loads_only_own_resources() -> None:
    """A page's policy names no source but this gateway, allows nothing inline and no frame."""
    policy = security_headers("text/html; charset=utf-8")["Content-Security-Policy"]
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives["default-src"] == directives["form-action"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_response_that_is_no_page_is_sandboxed() -> None:
    """A file or a log that a browser shows all the same runs and loads nothing."""
    for content_type in ("application/json", "application/octet-stream", "image/svg+xml", ""):
        policy = security_headers(content_type)["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "sandbox" in policy


def test_response_is_not_cached_by_default() -> None:
    """Replies stay in no cache but for those that set how long they may."""
    assert security_headers("text/html")["Cache-Control"] == "no-store"
    assert security_headers("text/css", "max-age=60")["Cache-Control"] == "max-age=60"


def test_the_cookie_is_for_this_host_only() -> None:
    """No script reads the cookie, no foreign form sends it; with TLS it never travels without."""
    plain, secure = session_cookie(secure=False), session_cookie(secure=True)
    for cookie in (plain, secure):
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
    assert secure["secure"]
    assert secure["key"] == f"__Host-{plain['key']}"
    assert session_in({plain["key"]: "token"}, secure=True) == ""
    assert session_in({plain["key"]: "token"}, secure=False) == "token"
