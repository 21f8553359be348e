"""Periodic work of this app; imported once by AppConfig.ready()."""

from loraforge.core import beat

# Only the net under the hints that come with every change.
beat.every(5, "scheduling.instances_place")
