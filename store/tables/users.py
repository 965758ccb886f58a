"""Users: who signs in. Their names are unique, ignoring case.

Deleting a user deletes their keys, sessions and memberships.
"""

from store.records import User
from store.tables.table import Table

users = Table("users", User)
