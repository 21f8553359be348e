"""The only door to nodes: command queue, file client, signed tokens."""
