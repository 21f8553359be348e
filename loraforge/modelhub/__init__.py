"""Which base models there are, and what type and chat template they want."""
