"""What goes between agent and control plane over HTTP: joining, and the inputs of jobs."""
