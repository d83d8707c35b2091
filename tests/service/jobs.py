"""Records for tests."""

from service.records import GeneratorRecord, JobError, JobRecord
from service.requests import GenerateRequest

ERROR = JobError(code="fit-failed", message="The seeds could not be inverted.", retry=False)


def make_job(job_id: str = "job-1", count: int = 100) -> JobRecord:
    """A job as it is when just accepted."""
    return JobRecord(id=job_id, request=GenerateRequest(project_id="bears", count=count))


def make_generator(generator_id: str = "toy", resolution: int = 64) -> GeneratorRecord:
    """A generator's record, without weights."""
    return GeneratorRecord(
        id=generator_id,
        name="Toy",
        resolution=resolution,
        w_dim=64,
        num_ws=10,
        parameters=1,
        sha256="0" * 64,
        source="bundled",
        has_encoder=True,
    )
