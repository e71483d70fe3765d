"""Optimizers, schedules and what they do differently to each parameter: Optax chains built inside the trace."""
