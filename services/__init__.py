"""The programs that the master runs: one folder a program, all of the same inner shape."""
