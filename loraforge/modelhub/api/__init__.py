"""REST entry points of models to pick."""
