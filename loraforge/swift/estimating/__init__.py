"""What a training will take, before it costs GPU time: memory, steps, disk. Pure; evidence: docs/estimates.md."""
