"""Logs, metrics and samples: storing, reading, and the live consumers."""
