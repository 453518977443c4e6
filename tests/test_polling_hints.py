"""What a publisher's answer and document ask for."""

import time
from datetime import timedelta

import pytest

from feedwatch.core.feed import Hints
from feedwatch.feeds.polling_hints import HEAD, LONGEST, fresh_for, hints_of
from tests.pace import slowness
from tests.support import rss

MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
NOON, ONE = "Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 13:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "fresh"),
    [
        ({}, None),
        ({"cache-control": "public"}, None),
        ({"cache-control": "max-age=600"}, 10 * MINUTE),
        ({"cache-control": 'public, Max-Age="600", must-revalidate'}, 10 * MINUTE),
        ({"cache-control": "s-maxage=9999,max-age=600"}, 10 * MINUTE),
        ({"cache-control": "s-maxage=600"}, None),  # for caches that many share
        ({"cache-control": "max-age=600", "age": "240"}, 6 * MINUTE),
        ({"cache-control": "max-age=600", "age": "601"}, None),
        ({"cache-control": "max-age=600", "age": "old"}, 10 * MINUTE),
        ({"cache-control": "max-age=0"}, None),
        ({"cache-control": "max-age=-1"}, None),
        ({"cache-control": "max-age=999999999999"}, timedelta(seconds=LONGEST)),
        ({"cache-control": "no-cache, max-age=600"}, None),
        ({"cache-control": "max-age=600,no-store"}, None),
        ({"expires": ONE, "date": NOON}, HOUR),
        ({"expires": ONE, "date": NOON, "age": "60"}, 59 * MINUTE),
        ({"expires": ONE, "date": NOON, "cache-control": "max-age=60"}, MINUTE),
        ({"expires": NOON, "date": ONE}, None),
        ({"expires": "-1", "date": NOON}, None),
        ({"expires": ONE}, None),
        ({"expires": ONE.replace("GMT", "-0000"), "date": NOON}, None),
    ],
)
def test_how_long_an_answer_holds(headers: dict[str, str], fresh: timedelta | None) -> None:
    assert fresh_for(headers) == fresh


def document(head: str) -> bytes:
    return rss(1, 2).replace(b"<title>A show</title>", head.encode(), 1)


@pytest.mark.parametrize(
    ("head", "hints"),
    [
        ("", Hints()),
        ("<ttl>60</ttl>", Hints(every=HOUR)),
        ("<ttl>\n 60 </ttl>", Hints(every=HOUR)),
        ("<ttl>0</ttl>", Hints()),
        ("<ttl>-5</ttl>", Hints()),
        ("<ttl>soon</ttl>", Hints()),
        ("<ttl>9999999</ttl>", Hints(every=timedelta(seconds=LONGEST))),
        ("<sy:updatePeriod>hourly</sy:updatePeriod>", Hints(every=HOUR)),
        (
            "<sy:updatePeriod> daily\t</sy:updatePeriod><sy:updateFrequency>2</sy:updateFrequency>",
            Hints(every=12 * HOUR),
        ),
        ("<sy:updateFrequency>4</sy:updateFrequency>", Hints(every=6 * HOUR)),
        ("<sy:updateFrequency>0</sy:updateFrequency>", Hints()),
        ("<sy:updatePeriod>whenever</sy:updatePeriod>", Hints()),
        ("<ttl>60</ttl><sy:updatePeriod>daily</sy:updatePeriod>", Hints(every=DAY)),
        (
            "<skipHours><hour>0</hour><hour> 3 </hour><hour>24</hour><hour>x</hour></skipHours>",
            Hints(skip_hours=0b1001),
        ),
        ("<hour>5</hour>", Hints()),
        ("<skipHours><hour>5</hour>", Hints()),
        (
            "<skipDays><day>Monday</day><day>sunday</day><day>Caturday</day></skipDays>",
            Hints(skip_days=0b1000001),
        ),
    ],
)
def test_what_the_channel_says_of_itself(head: str, hints: Hints) -> None:
    assert hints_of(document(head)) == hints


@pytest.mark.parametrize("item", ["<item>", "<item\n>", '<item rdf:about="x">', "<entry>"])
def test_what_an_item_says_is_not_the_channels(item: str) -> None:
    assert hints_of(f"<rss><channel>{item}<ttl>60</ttl>".encode()) == Hints()
    assert hints_of(f"<channel><items/><ttl>60</ttl>{item}".encode()) == Hints(every=HOUR)


@pytest.mark.parametrize(
    "piece",
    [b" ", b"<ttl>", b"<ttl>   ", b"<skipHours>", b"<hour>1", b"<", b":updatePeriod>", b"<item/>"],
)
def test_a_hostile_head_costs_no_time(piece: bytes) -> None:
    body = piece * (2 * HEAD // len(piece))
    hints_of(body)
    begun = time.process_time()
    hints_of(body)
    assert (time.process_time() - begun) / slowness() < 0.05


def test_only_the_beginning_is_searched() -> None:
    assert hints_of(b" " * HEAD + b"<ttl>60</ttl>") == Hints()
