"""REST entry points of datasets and uploads."""
