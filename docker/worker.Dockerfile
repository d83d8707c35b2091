# A worker: torch with CUDA, used when the container is given a GPU, and the CPU otherwise.
FROM python:3.12-slim AS build

# For what is compiled: the labeling kernel of CPUs, and the tracing of masks.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY labelmint labelmint
COPY models models
COPY service service
COPY untrusted untrusted
COPY workers workers
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim

RUN useradd --create-home --uid 10001 labelmint && mkdir /data && chown labelmint /data
WORKDIR /app
COPY constraints.txt ./
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint constraints.txt "$(ls /wheels/*.whl)[worker]"

USER labelmint
ENV LABELMINT_DATA_DIR=/data
VOLUME /data
# The worker names itself in Redis and renews that every few seconds; a worker that hangs is gone from there in 20 s.
HEALTHCHECK --interval=20s --timeout=10s --start-period=120s \
    CMD ["python", "-m", "workers.health"]
STOPSIGNAL SIGTERM
CMD ["labelmint", "worker"]
