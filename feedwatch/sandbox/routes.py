"""Routes of the APIs that the sandbox stands in for, and a request parsed by them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from feedwatch.sandbox.faults import ApiName, Target

Query = dict[str, list[str]]


@dataclass(frozen=True)
class Route:
    """One method of one path of a contract. `{name}` is a segment of it, `{+name}` all the rest."""

    method: str
    template: str
    target: Target | None  # the name of its requests in a fault's `on`
    api: ApiName


@dataclass(frozen=True)
class Call:
    """A request's method, route, ids and query, parsed before its body is read."""

    method: str
    query: Query
    route: Route | None  # None: unknown path
    ids: dict[str, str] = field(default_factory=dict)
    allowed: Sequence[str] = ()  # methods of the path

    @property
    def target(self) -> Target | None:
        """The name of this request in a fault's `on`; None if faults for "any" alone affect it."""
        return self.route.target if self.route and self.method in self.allowed else None

    @property
    def job_id(self) -> str | None:
        """The job that is asked for."""
        return self.ids.get("mediaId") or next(iter(self.query.get("job_id", [])), None)


def parse_call(routes: Sequence[Route], method: str, target: str) -> Call:
    """Parse the request target (path and query), and find its route: by path, then by method.

    The order of `routes` matters: of two paths that match, OpenAPI prefers the one with fewer
    parameters.
    """
    path, _, query = target.partition("?")
    fields = parse_qs(query, keep_blank_values=True)
    for route in routes:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", route.template)
        pattern = re.sub(r"\{\+(\w+)\}", r"(?P<\1>.+)", pattern)
        if match := re.fullmatch(pattern, path):
            same = {one.method: one for one in routes if one.template == route.template}
            ids = {name: unquote(segment) for name, segment in match.groupdict().items()}
            return Call(method, fields, same.get(method, route), ids, tuple(same))
    return Call(method, fields, None)
