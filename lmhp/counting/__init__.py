"""Cost of a model before it exists: parameters, FLOPs, memory, time and price."""
