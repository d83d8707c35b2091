"""Takes up unfinished jobs again: all of them after Redis was lost, or one that has no part in the queue."""

from service.cancelling import end_if_idle
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, JobState
from service.requests import TrainRequest


def recover(ledger: Ledger, queue: JobQueue) -> int:
    """Enqueue every job that the store knows as unfinished, in the order they came; returns how many there are.

    What `take_up` would end instead is ended, and does not count.
    """
    jobs = 0
    for job in sorted(ledger.unfinished_in_store(), key=lambda job: job.created):
        ledger.count(job.id)
        jobs += take_up(job, ledger, queue)
    queue.mark_complete()
    return jobs


def take_up(job: JobRecord, ledger: Ledger, queue: JobQueue) -> bool:
    """Enqueue the first part of an unfinished job; returns whether it was enqueued.

    The first part of a job finds what was done before, labeler and shards, and hands out the rest. Parts that are
    queued or running stay as they are, so that nothing is lost by calling this once too often. A job that its user
    cancelled is ended instead; a training is enqueued even then, because a worker has to keep its best.
    """
    if job.state is JobState.CANCELLING and not isinstance(job.request, TrainRequest):
        end_if_idle(job, ledger, queue)
        return False
    queue.enqueue_job(job)
    return True
