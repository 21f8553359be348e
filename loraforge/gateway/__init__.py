"""Between SQL and the nodes: commands out, reports in, reconcile."""
