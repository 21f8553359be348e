"""Settings: `base` is the embedded default, `dev` adds DEBUG, `test` is for pytest, `prod` refuses weak settings."""
