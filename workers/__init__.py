"""Job bodies that RQ runs: fit, shards, packaging. Joins `models` (the mathematics) to `service` (the records)."""
