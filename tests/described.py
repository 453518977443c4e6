"""An HTTP API against its description, as a tool that knows only that sees it."""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import settings
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema


def operations(description: Mapping[str, Any]) -> list[str]:
    """What there is to be asked for, as METHOD and path."""
    return [
        f"{method.upper()} {path}"
        for path, methods in description["paths"].items()
        for method in methods
        if method not in ("parameters", "servers", "summary", "description")
    ]


def assert_described(
    schema: BaseSchema, operation: str, ask: Callable[..., None], examples: int, **fixtures: object
) -> None:
    """Have `ask` ask for an operation in good and in bad ways, each a `case` of schemathesis's.

    `schema.parametrize` would make up all the cases of all operations whenever tests are
    collected, which takes each process of the tests some seconds.
    """
    load_all_checks()
    found = get_all_tests(
        schema=schema.include(name=operation),
        test_func=ask,
        settings=settings(max_examples=examples, derandomize=True, deadline=None, database=None),
        given_kwargs={},
    )
    ((_, test),) = (one.ok() for one in found if isinstance(one, Ok))
    test(**fixtures)
