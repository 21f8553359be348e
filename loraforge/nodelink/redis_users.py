"""A Redis account for each node: its agent reads and writes its own queue and reports, nobody else's.

On with LORAFORGE_REDIS_NODE_ACL. Passwords are derived, never stored, and change with the node's token.
SQL says which accounts there are; a review makes Redis agree, after each change and once a minute (a Redis
without an ACL file forgets its accounts when it restarts). Only Redis 6.2 is asked for.
"""

import hashlib
import hmac
import logging
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from django.conf import settings

from loraforge.core.redis import connection
from loraforge.nodes.models import Node
from nodeagent.contract.channels import ack_key, command_queue, report_stream

log = logging.getLogger(__name__)

USER_PREFIX = "lf-node-"
# What the reporter and the Celery worker of an agent send, and nothing that tells of other keys
# (SCAN, KEYS, RANDOMKEY) or needs none. EVALSHA releases kombu's mutex; Redis checks keys inside too.
COMMANDS = (
    "-@all", "+@connection", "-@admin", "-@dangerous", "+multi", "+exec", "+discard", "+watch",
    "+unwatch", "+xadd", "+xlen", "+xrange", "+hgetall", "+hget", "+hset", "+hdel", "+hlen", "+lpush",
    "+rpush", "+rpop", "+brpop", "+llen", "+zadd", "+zrem", "+zrevrangebyscore", "+zrange", "+sadd",
    "+smembers", "+srem", "+set", "+get", "+exists", "+pexpire", "+del", "+evalsha", "+script|load",
    "+publish",
)  # fmt: skip


def user_name(node: Node) -> str:
    """The account of this node's agent."""
    return f"{USER_PREFIX}{node.name}"


def user_password(node: Node) -> str:
    """Bound to the node's token: a renewed token renews it too."""
    claims = f"loraforge.nodelink.redis:{node.name}:{node.token_digest}".encode()
    return hmac.new(settings.SECRET_KEY.encode(), claims, hashlib.sha256).hexdigest()


def user_rules(node: Node) -> list[str]:
    """What ACL SETUSER is told after the name. Every key ends with a delimiter: n1 is not n10."""
    queue = command_queue(node.name)
    keys = (
        report_stream(node.name), ack_key(node.name), f"{queue}*", f"unacked:{node.name}.*",
        f"_kombu.binding.{queue}*", f"_kombu.binding_permanent.{queue}*",
    )  # fmt: skip
    return [
        "reset", "on", f">{user_password(node)}", *(f"~{key}" for key in keys),
        "resetchannels", "&/*.celeryev/*", *COMMANDS,
    ]  # fmt: skip


def agent_redis_url(node: Node) -> str:
    """Where and as whom this node's agent connects."""
    url = str(settings.AGENT_REDIS_URL)
    if not settings.REDIS_NODE_ACL:
        return url
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    account = f"{quote(user_name(node))}:{user_password(node)}"
    return urlunsplit(parts._replace(netloc=f"{account}@{address}"))


def users_review() -> int:
    """Make Redis have exactly the accounts that the nodes need; returns how many were changed.

    Whoever is connected with an account that is gone or has another password is cut off.
    """
    if not settings.REDIS_NODE_ACL:
        return 0
    client = connection()
    wanted = {user_name(node): node for node in Node.objects.all()}
    known = {_text(name) for name in client.acl_users()}
    changed = 0
    for name in sorted(known - wanted.keys()):
        if name.startswith(USER_PREFIX):
            client.acl_deluser(name)  # ends its connections too
            changed += 1
    for name, node in wanted.items():
        if not _is_current(client, name, node):
            client.execute_command("ACL", "SETUSER", name, *user_rules(node))
            client.execute_command("CLIENT", "KILL", "USER", name)
            changed += 1
    if changed:
        log.info("%d accounts of nodes changed in Redis", changed)
        _save(client)
    return changed


def _is_current(client: "redis.Redis", name: str, node: Node) -> bool:
    found: Any = client.execute_command("ACL", "GETUSER", name)
    if not found:
        return False
    pairs = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    told = {_text(key): value for key, value in pairs.items()}
    digest = hashlib.sha256(user_password(node).encode()).hexdigest()
    return [_text(one) for one in told["passwords"]] == [digest]


def _save(client: "redis.Redis") -> None:
    """Into the ACL file, where there is one: the accounts are there as soon as Redis is."""
    try:
        client.acl_save()
    except redis.ResponseError as error:
        log.debug("accounts of nodes are not kept over a restart of Redis: %s", error)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
