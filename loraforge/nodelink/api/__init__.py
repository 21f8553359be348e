"""REST entry point of node agents."""
