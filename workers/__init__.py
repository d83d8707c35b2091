"""Job bodies that RQ runs: fit, shards, packaging, imports and trainings of generators.

Joins `models` (the mathematics) to `service` (the records).
"""
