"""Periodic work of this app; imported once by AppConfig.ready()."""

from django.conf import settings

from loraforge.core import beat

if settings.REDIS_NODE_ACL:
    beat.every(60, "nodelink.redis_users_review")
