"""`add` on RSGI, Granian's own interface and its fastest one."""

import msgspec


def add(args):
    return args["a"] + args["b"]


async def app(scope, protocol):
    reply = msgspec.json.encode(add(msgspec.json.decode(await protocol())))
    protocol.response_bytes(200, [("content-type", "application/json")], reply)
