"""Takes up every unfinished job again after Redis was lost."""

from service.ledger import Ledger
from service.queue import JobQueue


def recover(ledger: Ledger, queue: JobQueue) -> int:
    """Enqueue every job that the store knows as unfinished; returns how many there are.

    The first part of a job finds what was done before, labeler and shards, and hands out the rest. Parts that are
    queued or running stay as they are, so that nothing is lost by calling this once too often.
    """
    jobs = 0
    for job in ledger.unfinished():
        queue.enqueue_job(job)
        jobs += 1
    queue.mark_complete()
    return jobs
