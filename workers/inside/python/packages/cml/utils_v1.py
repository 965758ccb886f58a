"""How to sign in at the APIs of the server."""

from predictd_inside.sdk.calls import get_auth  # type: ignore[import-not-found]

__all__ = ["get_auth"]
