"""The body of a job that trains a generator's encoder."""

from workers.encoders import ensure_encoder
from workers.workbench import Cancelled, Workbench, run_body


def run(job_id: str) -> None:
    """Train the encoder of the job's generator, unless it has one by now."""
    run_body(job_id, encode)


def encode(bench: Workbench) -> None:
    """What `run` does, at a given workbench. Raises `Cancelled`, and whatever goes wrong."""
    if not bench.ledger.start(bench.job_id):
        raise Cancelled
    ensure_encoder(bench)
    bench.ledger.succeed(bench.job_id, {})
