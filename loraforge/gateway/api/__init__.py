"""REST entry point of node agents for what their attempts need."""
