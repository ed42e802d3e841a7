"""App of the workers of Procrastinate; a dead worker is noticed within seconds."""

import os

from procrastinate import App, PsycopgConnector

from lipsync_async import AsyncClient, Limits
from lipsync_async.engines.procrastinate import generation_task

app = App(
    connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]),
    worker_defaults={"update_heartbeat_interval": 1, "stalled_worker_timeout": 3},
)
LIMITS = Limits(creates_per_minute=600, requests_per_minute=6000, concurrent_generations=150)
generate = generation_task(
    app, lambda: AsyncClient(limits=LIMITS), rescue_cron="* * * * * *", stalled_after=3
)
