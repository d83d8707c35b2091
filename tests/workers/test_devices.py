"""A worker leaves GPUs to its children: what has called on CUDA cannot fork children that do."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys
import redis
import torch

def touched(*_, **__):
    raise AssertionError("CUDA was called on")

torch.cuda._lazy_init = torch.cuda.device_count = torch.cuda.is_available = touched
torch._C._cuda_getDeviceCount = torch._C._cuda_init = touched

from service.settings import Settings
from workers import worker

class Forking:
    def __init__(self, *_): pass
    def work(self, **_): assert not torch.cuda.is_initialized()

worker.ForkingWorker = Forking
worker.work(Settings(_env_file=None, data_dir=sys.argv[1], store_url=f"file://{sys.argv[1]}/store"), redis.Redis())
assert "workers.shard" in sys.modules
"""


def test_a_worker_asks_for_no_gpu_before_it_forks(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, cwd=ROOT)
