"""Every setting of the service, read from `LABELMINT_*` environment variables and an `.env` file."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.redis_client import check_url
from service.stores.s3 import check_endpoint

_LONGEST_S = 2**31 - 1
"""What an alarm can be set to, and so the longest time limit: 68 years."""

_MOST_BYTES = 2**60
"""More than any machine has, and less than the kernel refuses to be told as a limit."""

Seconds = Annotated[int, Field(ge=1, le=_LONGEST_S)]


class Settings(BaseSettings):
    """The defaults serve one machine with embedded parts; a deployment overrides the first three."""

    # An address may have a password in it.
    model_config = SettingsConfigDict(
        env_prefix="LABELMINT_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    store_url: str = Field(default="file://./data/store", description="file://DIR or s3://BUCKET/PREFIX")
    redis_url: str | None = Field(default=None, description="redis://… ; None: `labelmint up` starts a private server")
    s3_endpoint_url: str | None = Field(default=None, description="An S3-compatible server other than AWS")

    s3_public_endpoint_url: str | None = Field(
        default=None, description="The same server as clients reach it, for downloads"
    )

    # An empty one would mean every address of the machine.
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8000, ge=0, le=65535, description="0 picks a free port")
    data_dir: Path = Field(default=Path("./data"), description="Where `up`, `demo` and workers keep local files")
    workers: int = Field(default=1, ge=1, le=64, description="Workers that `labelmint up` starts")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")

    lpips_backbone: Literal["alex", "vgg", "squeeze"] = "alex"
    lpips_weights: Path | None = Field(
        default=None, description="torchvision weights of the backbone, when not in its cache"
    )

    inception_weights: Path | None = Field(
        default=None, description="torchvision weights of inception_v3, when not in its cache"
    )

    max_seeds: int = Field(default=50, ge=1, le=50)
    max_count: int = Field(default=1_000_000, ge=1, description="Images one job may ask for, versions included")
    max_upload_bytes: int = Field(default=256 * 2**20, ge=1)
    max_unpacked_bytes: int = Field(
        default=1024 * 2**20, ge=1, description="Real size of all members of an uploaded zip"
    )
    max_image_pixels: int = Field(default=64_000_000, ge=1)
    max_classes: int = Field(default=255, ge=2, le=255)

    max_checkpoint_bytes: int = Field(default=4 * 2**30, ge=1, description="Size of an uploaded checkpoint or zip")
    import_memory_bytes: int = Field(
        default=8 * 2**30, ge=2**28, le=_MOST_BYTES, description="Address space a checkpoint may take while it is read"
    )
    encoder_steps: int = Field(default=9000, ge=1, description="Training steps of an encoder, both stages together")
    encoder_minutes: float = Field(
        default=60.0, gt=0, le=_LONGEST_S // 60, description="Wall time an encoder may train"
    )

    import_timeout_s: Seconds = 1800
    train_timeout_s: Seconds = 14 * 24 * 3600
    encode_timeout_s: Seconds = 3 * 3600
    fit_timeout_s: Seconds = Field(default=4 * 3600, description="An encoder trained first included")
    shard_timeout_s: Seconds = 3600
    package_timeout_s: Seconds = 6 * 3600
    shard_size: int | None = Field(default=None, ge=1, description="Samples per shard; None: chosen from `count`")
    stop_grace_s: int = Field(
        default=100, ge=2, le=_LONGEST_S, description="How long a worker that is told to stop lets its part go on"
    )
    job_ttl_s: int = Field(
        default=7 * 24 * 3600, ge=60, le=_LONGEST_S, description="How long Redis remembers a finished job's progress"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_has_an_address(cls, url: str | None) -> str | None:
        if url is not None:
            # Raises ValueError, which whoever connects later would otherwise have to expect.
            check_url(url)
        return url

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _s3_has_an_address(cls, url: str | None) -> str | None:
        if url is not None:
            check_endpoint(url)  # for the same reason
        return url


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
