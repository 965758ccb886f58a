"""SQLite behind a thread of its own: connections, transactions, migrations and checks."""
