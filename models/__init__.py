"""Generators, inversion, labelers and their training, in torch. Knows nothing of Redis, object stores or HTTP."""
