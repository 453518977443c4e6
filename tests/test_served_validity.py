"""Served feeds, as others read them: no rule of the formats is broken, and nothing else changed."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import feedparser
import pytest

from feedwatch.core.feed import Document
from feedwatch.core.served import ProcessedFile
from feedwatch.feeds.layout import layout_of
from feedwatch.feeds.rewrite import Edition, rewritten
from feedwatch.feeds.well_formed import well_formed
from tests.feed_validity import (
    broken_rules,
    podcastparser_reads,
    w3c_errors,
    without_the_stated_changes,
)
from tests.feeds_corpus import Corpus
from tests.support import item, rss

EDITION = Edition(url="https://feeds.example.org/feeds/show.xml")
FILE = ProcessedFile(
    url="https://cdn.example.org/1.mp3?a=1&b=2", length=777, type="audio/mpeg", duration=61.6
)
SMALL = 75_000  # bytes; a good part of the real feeds is smaller
# What the validator advises of a feed that has no iTunes tags of its own but gets a duration.
ADVICE = {
    "AvoidNamespacePrefix",
    "MissingItunesElement",
    "MissingItunesEmail",
    "UnsupportedItunesFormat",
}

of_some_size = pytest.mark.parametrize(
    "most",
    [SMALL, pytest.param(10**9, marks=[pytest.mark.slow, pytest.mark.long])],
    ids=["small", "all"],
)


def published_and_served(corpus: Corpus, most: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Each real feed as its publisher has it, well-formed, and with all audio processed."""
    for file in corpus.files("real"):
        if file.stat().st_size > most:
            continue
        document = well_formed(Document(body=file.read_bytes(), url="https://example.org/f.xml"))
        if document is not None:
            layout = layout_of(document)
            files = dict.fromkeys(range(len(layout.items)), FILE)
            yield file.name, document, rewritten(layout, files, EDITION)


@of_some_size
@pytest.mark.timeout(900)
def test_real_feeds_are_the_publishers_to_the_byte_but_for_the_stated_changes(
    real_feeds: Corpus, most: int
) -> None:
    for name, published, served in published_and_served(real_feeds, most):
        rest, rest_served = map(without_the_stated_changes, (published, served))
        assert rest == rest_served, name


@of_some_size
@pytest.mark.timeout(900)
def test_no_served_feed_breaks_a_rule_that_its_publisher_does_not(
    real_feeds: Corpus, most: int
) -> None:
    for name, published, served in published_and_served(real_feeds, most):
        assert not broken_rules(served) - broken_rules(published), name


@of_some_size
@pytest.mark.timeout(900)
def test_feedparser_and_podcastparser_read_served_feeds_without_complaint(
    real_feeds: Corpus, most: int
) -> None:
    for name, published, served in published_and_served(real_feeds, most):
        assert not feedparser.parse(io.BytesIO(served)).bozo, name
        before, after = podcastparser_reads(published), podcastparser_reads(served)
        assert (before is None) == (after is None), name
        guids = Counter(guid for guid, _ in before or [])
        for (guid, addresses), (other, files) in zip(before or [], after or [], strict=True):
            # Two items with one address and no guid are one to apps that go by the address.
            assert other in (guid, *addresses) or guids[guid] > 1, name
            assert not addresses or FILE.url in files or set(files) <= set(addresses), name


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_w3c_validator_finds_no_error_that_the_publisher_did_not_make(
    real_feeds: Corpus,
) -> None:
    checkout = os.environ.get("FEEDWATCH_TEST_FEEDVALIDATOR")
    if not checkout:
        pytest.skip("FEEDWATCH_TEST_FEEDVALIDATOR names no clone of w3c/feedvalidator")
    for name, published, served in published_and_served(real_feeds, 10**9):
        before = w3c_errors(Path(checkout), published, EDITION.url)
        errors, warnings = w3c_errors(Path(checkout), served, EDITION.url)
        assert not errors - before[0], name
        assert (warnings - before[1]).keys() <= ADVICE, name


def test_the_rules_find_what_breaks_them() -> None:
    podcast = 'xmlns:podcast="https://podcastindex.org/namespace/1.0"'
    wrong = (
        "<itunes:duration>1 h</itunes:duration><itunes:duration>60</itunes:duration>"
        '<enclosure url="ftp://example.org/a" length="-1" type="mp3"/>'
        f'<podcast:alternateEnclosure {podcast}/><podcast:source {podcast} uri="x"/>'
    )
    document = rss(item(1), item(2, more=wrong)).replace(
        b"<channel>",
        f"<channel><podcast:guid {podcast}>x</podcast:guid><podcast:guid {podcast}/>"
        '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="a"/>'
        '<atom:link xmlns:atom="http://www.w3.org/2005/Atom" rel="self" href="b"/>'.encode(),
    )
    assert broken_rules(rss(1, 2)).total() == 0
    assert len(broken_rules(document)) == 11
    assert broken_rules(b"<rss/>").total() == 1
