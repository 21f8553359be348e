"""Users, roles, API tokens, and the one rule of access."""
