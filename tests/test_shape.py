"""The limits that keep the code readable. `python -m tests.shape` prints the figures."""

import io
import re
import tokenize
from statistics import quantiles

import pytest

from tests.shape import (
    MOST_HELPERS_WITH_ONE_CALLER,
    MOST_LINES_OF_A_FILE,
    MOST_PUBLIC_METHODS,
    NINE_IN_TEN_BODIES,
    ROOT,
    functions,
    lines,
    public_methods,
)

# Words of an earlier, private vocabulary, for which the field has terms: docs/glossary.md. Columns
# of the database and migrations keep them.
RETIRED = frozenset(
    {
        "Gate",
        "gate",
        "is_shut",
        "closed_until",
        "doubts",
        "gate_after_answer",
        "gate_after_doubt",
        "gate_after_read",
        "gate_after_new_access",
        "Move",
        "Tally",
        "Submission",
        "Sighting",
        "sighting",
        "sightings",
        "twin",
        "namesakes",
        "Digest",
        "Seen",
        "basis",
        "basis_of",
        "body_mark",
        "Rest",
        "Reading",
        "Reader",
        "decisions_on",
        "Pace",
        "Tasks",
        "_Turn",
        "Duty",
        "Heart",
        "heart",
        "VitalSigns",
        "Vitals",
        "NOWHERE",
        "PATIENCE",
        "Imprint",
        "Marker",
        "suspect",
        "is_behind",
        "doubted_before",
        "Brake",
        "brake",
        "reaching",
        "reached",
        "Reach",
        "reach_of",
        "address_reach",
        "Departure",
        "departure",
        "stayed",
        "new_at",
        "full_at",
        "hinted",
        "_UnsureError",
    }
)

RETIRED_PATTERN = re.compile("AT_ONCE$")  # a limit is called MAX_…, by what it is a limit of


def test_no_file_is_long() -> None:
    assert {path: size for path, size in lines().items() if size > MOST_LINES_OF_A_FILE} == {}


def test_no_class_has_many_public_methods() -> None:
    assert {one: n for one, n in public_methods().items() if n > MOST_PUBLIC_METHODS} == {}


def test_helpers_with_one_caller_are_the_exception_and_few_functions_are_long() -> None:
    found = list(functions())
    helpers = sum(one.is_helper_with_one_caller for one in found)
    assert helpers <= MOST_HELPERS_WITH_ONE_CALLER * len(found)
    assert quantiles([one.body for one in found], n=10)[-1] <= NINE_IN_TEN_BODIES


@pytest.mark.parametrize("package", sorted(path.name for path in ROOT.iterdir() if path.is_dir()))
def test_no_identifier_is_of_the_retired_vocabulary(package: str) -> None:
    found = {
        (path.name, token.string)
        for path in (ROOT / package).rglob("*.py")
        if "migrations" not in path.parts
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.NAME
        if token.string in RETIRED or RETIRED_PATTERN.search(token.string)
    }
    assert found == set()
