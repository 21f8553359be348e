"""What the control plane and the node agent say to each other.

Commands travel as JSON in Celery messages, reports as MessagePack in a Redis stream, joining as JSON
over HTTP. Every message carries ``v``; unknown fields are ignored, so that an agent one version older
or newer still works. Golden files in tests/contract hold one of each.
"""

VERSION = 1
