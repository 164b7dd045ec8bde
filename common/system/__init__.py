"""Floor 1, worldly: files, clock, locks, privileges, logging. Knows nothing of mail."""
