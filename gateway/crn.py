"""CRNs: names of models, builds and deployments in Cloudera's form.

The admin API shows them, replicas record them with their predictions, and metrics are requested by
them. Clients take the id after the slash.
"""

from uuid import UUID, uuid5


def crn(workspace: str, identifier: str) -> str:
    """The CRN of the object with this id."""
    account = uuid5(UUID(workspace), "account")
    return f"crn:cdp:ml:local:{account}:workspace:{workspace}/{identifier}"
