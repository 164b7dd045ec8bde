"""authclient."""
