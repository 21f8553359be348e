"""What LoRAForge's own parts cost, each beside its floor in the same run. `python -m tests.benchmarks`."""
