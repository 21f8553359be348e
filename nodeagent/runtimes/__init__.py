"""How a job becomes a process: the port in `base`, and one module for each way."""
