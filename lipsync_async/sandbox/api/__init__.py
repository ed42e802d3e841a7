"""The API, one file a resource; a new one is a file and a line here."""

from lipsync_async.sandbox.api import catalogue, controls, costs, create, generations, hosting

RESOURCES = (
    create.generate,
    generations.one,
    generations.many,
    costs.costs,
    catalogue.models,
    catalogue.errors,
    catalogue.organization,
    hosting.outputs,
    hosting.files,
    controls.controls,
)
