"""Names of the queues, streams and keys in Redis.

Each name ends with a delimiter, so that a pattern for node ``n1`` never matches node ``n10``.
"""

LIVE_STREAM = "lf:live"
COMMAND_TASK = "nodeagent.command"

# Fields of a node's acknowledgement hash. The value of ACK_JOURNAL is the highest committed sequence
# number (decimal) below which nothing is missing. Numbers of one agent folder rise by one; a new folder
# begins at its clock in milliseconds since 1970, so a receiver accepts a jump upwards and never mistakes
# a reinstalled node's first report for an old one.
ACK_JOURNAL = "journal"

# Field of the ack hash: the ``mark`` of the newest heartbeat that was stored, as it came.
ACK_HEARD = "heard"

# Field of the ack hash: ``<seq>:<nonce>``; a new value asks the agent to resend every journalled report
# (phase, result, files) with a higher number that it still has, acknowledged or not.
REREAD_JOURNAL = "reread:journal"

# Field of the ack hash: ``<agent id>:<nonce>``, written when an agent reports under a name that another has
# joined with since. A new value with another id tells an agent to end; its trainings go on.
ACK_AGENT = "agent"


def command_queue(node: str) -> str:
    """Celery queue that the agent of ``node`` alone consumes."""
    return f"node.{node}."


def report_stream(node: str) -> str:
    """Redis stream of reports, written by the agent, field ``b`` = one MessagePack Report."""
    return f"lf:up:{node}."


def ack_key(node: str) -> str:
    """Redis hash, written by ingest after its commit; see `ack_field` and `reread_field`."""
    return f"lf:ack:{node}."


def ack_field(instance: int, attempt: int, stream: str) -> str:
    """Field of the ack hash: value = the committed end, in bytes, of that stream (decimal)."""
    return f"{instance}:{attempt}:{stream}"


def reread_field(instance: int, attempt: int, stream: str) -> str:
    """Field of the ack hash: ``<end>:<nonce>``; a new value asks the agent to resend from ``end``."""
    return f"reread:{instance}:{attempt}:{stream}"
