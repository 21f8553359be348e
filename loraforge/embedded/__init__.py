"""The embedded stack: all services on one machine by one command, and the demo that uses them."""
