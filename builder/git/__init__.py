"""Git: the gateway's own bare repositories, and clones of other people's."""
