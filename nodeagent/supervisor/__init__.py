"""Keeps every attempt of this node going from its start to its acknowledged end."""

from nodeagent.supervisor.loop import POOL_THREADS, Supervisor

__all__ = ["POOL_THREADS", "Supervisor"]
