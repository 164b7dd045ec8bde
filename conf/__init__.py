"""The configuration as shipped: main.cf, master.cf and aliases, found by an installed tubepost as package data."""
