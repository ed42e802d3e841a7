"""What one look at several jobs shows of each: its status, and the rest only if asked for.

Most looks find that nothing has changed. So of each item only `id` and `status` are read,
and a job is structured when its status is a new one: six times cheaper in a list of jobs
that just go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from lipsync_async._rules import answers, endpoints, retry
from lipsync_async._rules.endpoints import Call
from lipsync_async._values.messages import Response
from lipsync_async._values.models import Generation
from lipsync_async._words import TERMINAL
from lipsync_async.errors import DecodeError, ResponseError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lipsync_async.errors import LipsyncError


@attrs.define(slots=True)
class Sightings:
    """Hold what a look has shown.

    Attributes:
        items: The jobs' JSON by their ids; those of a wrong shape are left out.
        response: The answer that showed them.

    """

    items: Mapping[str, Mapping[str, Any]]
    response: Response

    def status_of(self, job: str) -> str | None:
        """Return a job's status as it came; `None`: the job was not shown."""
        item = self.items.get(job)
        return None if item is None else item["status"]

    def ends(self) -> Iterator[tuple[str, bool]]:
        """Yield the jobs that were shown, and whether each has ended."""
        return ((job, item["status"] in TERMINAL) for job, item in self.items.items())

    def generation(self, job: str) -> Generation:
        """Return a job that was shown.

        Raises:
            DecodeError: Its JSON is of another shape than documented.

        """
        return answers.structure(Generation, self.items[job], self.response)


def look_at(ids: Sequence[str]) -> Call[Sightings]:
    """Describe the request that shows these jobs: a list, or the one job's own path.

    Reading an answer that is no list is a DecodeError, as is one job of a wrong shape; in
    a list such a job is left out and does not harm the others.
    """
    if len(ids) == 1:
        (job,) = ids
        path = endpoints.get_generation(job).path
        return Call("GET", path, partial(_read_job, job), is_repeatable=True, shows=Sightings.ends)
    path = endpoints.list_generations(ids=ids).path
    return Call("GET", path, _read_list, is_repeatable=True, shows=Sightings.ends)


def is_refusal(error: LipsyncError) -> bool:
    """Tell whether a list was refused for good, so that shorter ones may do better.

    The service names no limit for the ids in a list (contract section 2.8), so any answer
    that would come again may be meant for the list's length, for one of its ids, or for
    lists as such.
    """
    is_answer = isinstance(error, ResponseError | DecodeError | UnexpectedError)
    return is_answer and retry.classify(error) is retry.FailureKind.FINAL


def _read_job(job: str, response: Response) -> Sightings:
    data = answers.read_json(response)
    shown = answers.structure(Generation, data, response)
    answers.refuse_another(job, shown.id, response)
    return Sightings({job: data}, response)


def _read_list(response: Response) -> Sightings:
    data = answers.read_json(response)
    if type(data) is not list:
        raise answers.misshapen(response, "expected a list @ $")
    return Sightings({item["id"]: item for item in data if _is_job(item)}, response)


def _is_job(item: Any) -> bool:
    return type(item) is dict and type(item.get("id")) is str and type(item.get("status")) is str
