"""The machines that work: node, device, token, health."""
