"""`python -m tests.service.quick_api SECONDS …`: uvicorn with an API that lets nothing rest for longer.

So often a stream gives a sign of life, and a job that is watched is read though Redis has no news of it.
"""

import sys

import uvicorn

from service import job_watch
from service.routes import events

if __name__ == "__main__":
    events.HEARTBEAT_S = job_watch.READ_AGAIN_S = float(sys.argv[1])
    uvicorn.main(sys.argv[2:])
