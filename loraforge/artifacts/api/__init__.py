"""REST entry points of output files."""
