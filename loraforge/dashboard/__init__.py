"""Composed pages: home, new job, job, nodes."""
