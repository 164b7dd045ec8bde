"""Where users and passwords are known: one module a kind, made by ``registry``."""
