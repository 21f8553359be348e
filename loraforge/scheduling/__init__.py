"""Which waiting instance goes where, and why another waits."""
