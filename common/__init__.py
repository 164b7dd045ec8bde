"""The shared floors; see README.md."""
