"""Golden vectors of the wire, which client and sandbox are held to, each for itself.

A vector is data: a request and its answer, or a signed webhook, written from the vendor's public
pages. Its title says what it shows. Neither side sees the other here.

Keys of a vector beside `title` and `source`:

* `request`, `response`: what goes over the wire. A header of `null` is left out; `text` is a body
  that is no JSON; `contains` lists pieces of a body. A form is a list of its parts.
* `call`: the method of the client (of `generations`, unless it names another resource) and its
  arguments. `{"@": "Video", …}` is a `Video`.
* `result` or `error`: what the client makes of the answer: attributes and their values.
* `differs`: parts of the request that no call of the client would send like this.
* `varies`: fields whose value is the service's own; the sandbox's has the same type.
* `absent`: fields that the sandbox must not send.
* `job`, `event`: a job of the sandbox that ends, and the webhook that tells of it.
* `sandbox`: what is there before: `settings`, `jobs`, requests made `before`, `faults`; or why the
  sandbox is `unsupported` here.
"""
