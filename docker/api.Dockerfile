# The API: small, starts in a second, has no torch.
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 labelmint
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY labelmint labelmint
COPY models models
COPY service service
COPY untrusted untrusted
COPY workers workers
RUN pip install --no-cache-dir --constraint constraints.txt .

USER labelmint
ENV LABELMINT_HOST=0.0.0.0 LABELMINT_PORT=8000 LABELMINT_DATA_DIR=/tmp/labelmint
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["labelmint", "api"]
