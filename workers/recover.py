"""Takes up every unfinished job again after Redis was lost."""

from service.cancelling import end_if_idle
from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobState
from service.requests import TrainRequest


def recover(ledger: Ledger, queue: JobQueue) -> int:
    """Enqueue every job that the store knows as unfinished, in the order they came; returns how many there are.

    The first part of a job finds what was done before, labeler and shards, and hands out the rest. Parts that are
    queued or running stay as they are, so that nothing is lost by calling this once too often. A job that its user
    cancelled is ended instead; a training is enqueued even then, because a worker has to keep its best.
    """
    jobs = 0
    for job in sorted(ledger.unfinished_in_store(), key=lambda job: job.created):
        ledger.count(job.id)
        if job.state is JobState.CANCELLING and not isinstance(job.request, TrainRequest):
            end_if_idle(job, ledger, queue)
        else:
            queue.enqueue_job(job)
            jobs += 1
    queue.mark_complete()
    return jobs
