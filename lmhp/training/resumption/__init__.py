"""A run that continues in its directory: what must stay equal, and what may change."""
