"""App of the workers of Celery; tasks of a lost worker are delivered again within seconds."""

import os

from celery import Celery  # type: ignore[import-untyped]

from lipsync_async import Client, Limits
from lipsync_async.engines.celery import generation_task, worker_settings

app = Celery("tests", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(worker_settings(visibility_timeout=10))
LIMITS = Limits(creates_per_minute=600, requests_per_minute=6000, concurrent_generations=150)
generate = generation_task(app, lambda: Client(limits=LIMITS))
