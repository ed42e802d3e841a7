"""Requests that must never be sent: one row for each way to break a rule.

A row is found by the name of the rule (its number comes first), and holds the keyword arguments
of a `GenerationRequest`, and the path of the problem with a part of its text.
"""

from __future__ import annotations

from tests.logic.bad_inputs import BAD_INPUTS
from tests.logic.bad_options import BAD_OPTIONS
from tests.logic.bad_segments import BAD_SEGMENTS
from tests.logic.requests import BadRequests, order

_BAD_NAMES: BadRequests = {
    "10-extension": (order(output_file_name="a.mp4"), "output_file_name: without an extension"),
    "10-newline": (order(output_file_name="a\n"), "output_file_name: letters, digits, - or _"),
    "10-umlaut": (order(output_file_name="für"), "output_file_name: letters, digits, - or _"),
    "10-empty": (order(output_file_name=""), "output_file_name: must be 1 to 255 letters"),
    "10-long": (order(output_file_name="a" * 256), "output_file_name: must be 1 to 255 letters"),
    "12-http": (order(webhook_url="http://hooks.example/"), "webhook_url: must be an https URL"),
    "12-no-loopback": (order(webhook_url="http://localhost.example/"), "webhook_url: an https URL"),
    "12-private": (order(webhook_url="http://192.168.0.1/"), "webhook_url: an https URL"),
    "12-no-url": (order(webhook_url="hooks.example"), "webhook_url: must be an http or https URL"),
    "12-kind": (order(webhook_url=80), "webhook_url: must be an http or https URL, not 80"),
    "14-project-id": (order(project_id=""), "project_id: must not be empty"),
    "request-id-empty": (order(request_id=""), "request_id: must not be empty"),
    "request-id-blank": (order(request_id=" "), "request_id: must not be empty"),
    "request-id-number": (order(request_id=7), "request_id: must be text, not 7"),
    "request-id-bytes": (order(request_id=b"a"), "request_id: must be text, not bytes"),
    "request-id-long": (order(request_id="a" * 256), "request_id: must be 1 to 255 characters"),
    "request-id-line": (order(request_id="a\nb"), "request_id: control characters"),
    "request-id-zero": (order(request_id="a\0"), "request_id: control characters"),
    "request-id-half": (order(request_id="\ud800"), "request_id: half of a surrogate pair"),
}

BAD_REQUESTS: BadRequests = BAD_INPUTS | BAD_SEGMENTS | BAD_OPTIONS | _BAD_NAMES
