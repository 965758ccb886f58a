"""`add` as a bare WSGI application: no framework between uWSGI and the function."""

import msgspec


def add(args):
    return args["a"] + args["b"]


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    reply = msgspec.json.encode(add(msgspec.json.decode(body)))
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(reply)))]
    start_response("200 OK", headers)
    return [reply]
