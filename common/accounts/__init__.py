"""The built-in accounts: who there is, in one database, and their passwords in another (floor 2)."""
