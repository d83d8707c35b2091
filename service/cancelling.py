"""Cancelling a job, whether a worker has some of it in hand or none."""

from service.ledger import Ledger
from service.queue import JobQueue
from service.records import JobRecord, JobState
from service.requests import TrainRequest


def cancel(job_id: str, ledger: Ledger, queue: JobQueue) -> None:
    """Ask for the job's end; it has ended on return if no worker would have to put anything down.

    Raises `JobMissing`, and `JobFinished` if the job has ended in any way.
    """
    if ledger.cancel(job_id) is JobState.CANCELLING:
        end_if_idle(ledger.get(job_id), ledger, queue)


def end_if_idle(job: JobRecord, ledger: Ledger, queue: JobQueue) -> None:
    """End a job that is cancelling, unless a worker has a part of it in hand and so ends it itself.

    A training is left to a worker in any case, who keeps the best that it reached.
    """
    if isinstance(job.request, TrainRequest):
        return
    # A part is noted as in hand before its body looks for a cancellation. So a part that is taken up too late to be
    # seen here finds the job cancelled, and does nothing.
    if not queue.is_at_work(job.id):
        ledger.cancelled(job.id)
