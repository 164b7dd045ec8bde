"""What a person types: one file a command, thin over common."""
