"""Uploads and the datasets that come of them."""
