"""Whatever occupies a node: states, attempts, device leases, and the one writer of state."""
