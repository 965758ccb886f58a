"""The names of models, builds and deployments in the manner of Cloudera's.

They are told by the admin API, are what a replica says of its predictions, and are how metrics are
asked for. Clients take the id from behind the slash.
"""

from uuid import UUID, uuid5


def crn(workspace: str, identifier: str) -> str:
    """The name of what has this id."""
    account = uuid5(UUID(workspace), "account")
    return f"crn:cdp:ml:local:{account}:workspace:{workspace}/{identifier}"
