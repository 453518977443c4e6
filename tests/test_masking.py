"""What nobody may read, and what stays as it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from feedwatch.core import masking
from feedwatch.core.masking import know, masked, masked_content, secrets_in
from tests.support import KEY, Scene, item, scene

SECRETS = ["s3cr3t-key", 'pa"ss wörd/+&\\', "it's%20odd?"]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    before = masking._known
    know(SECRETS)
    yield
    masking._known = before


@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_secret_is_masked_however_it_is_quoted(secret: str) -> None:
    forms = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        quote_plus(secret),
        str(httpx.QueryParams({"q": secret}))[2:],
        httpx.URL("http://h", params={"q": secret}).query.decode()[2:],
    }
    for form in forms:
        assert masked(f"before {form} after") == "before *** after"
        assert masked_content(f"before {form} after") == "before *** after"


def test_of_two_secrets_the_longer_one_goes_first() -> None:
    know(["abcd", "abcdefgh"])
    assert masked("abcdefgh abcd") == "*** ***"


def test_what_is_too_short_is_no_secret() -> None:
    know(["a", "abc", ""])
    assert masked("abc") == "abc"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@h.example/feed", "https://***@h.example/feed"),
        ("https://t0ken@h.example/feed?x=1#top", "https://***@h.example/feed?x=1#top"),
        ("https://h.example/feed?token=abc&show=7", "https://h.example/feed?token=***&show=7"),
        ("https://h.example/f?accessToken=a&auth_key=b", "https://h.example/f?accessToken=***&auth_key=***"),
        ("https://h.example/f?X-Amz-Signature=ab&Expires=9", "https://h.example/f?X-Amz-Signature=***&Expires=9"),
        ("https://h.example/f?id=a1b2c3d4e5f6a7b8", "https://h.example/f?id=***"),
        ("https://h.example/f?id=%61b2c3d4e5f6a7b8%3D", "https://h.example/f?id=***"),
        ("https://h.example/f#access_token=abc", "https://h.example/f#access_token=***"),
        ("https://h.example/private/x9/feed.xml", "https://h.example/private/***/feed.xml"),
        ("https://h.example/private/feed/x9.xml", "https://h.example/private/feed/***"),
        ("https://h.example/auth/joe/a1b2c3d4e5f6a7b8c9d0e1f2/rss", "https://h.example/auth/***/***/rss"),
        ("https://h.example/rss/token/abc", "https://h.example/rss/token/***"),
        ("https://h.example/content/eyJ" + "a" * 40 + ".b.c.rss", "https://h.example/content/***"),
        ("postgresql://me:geheim@db/feedwatch", "postgresql://***@db/feedwatch"),
        ("postgresql://db/feedwatch?password=x", "postgresql://db/feedwatch?password=***"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_in_a_url_is_masked(url: str, shown: str) -> None:
    assert masked(f"could not fetch {url} today") == f"could not fetch {shown} today"
    assert masked(masked(url)) == masked(url)
    assert masked(f"'{url}', <{url}>") == f"'{shown}', <{shown}>"


@pytest.mark.parametrize(
    "url",
    [
        "https://feeds.megaphone.fm/ABC1234567890",
        "https://feeds.simplecast.com/54nAGcIl",
        "https://rss.art19.com/the-daily",
        "https://www.omnycontent.com/d/playlist/e73c998e-6e60-432f-8610-ae210140c5b1/podcast.rss",
        "https://www.youtube.com/feeds/videos.xml?channel_id=UCHS55yDvORmCpbM_3vNQQsQ",
        "https://anchor.fm/s/1e4a2c3d/podcast/rss",
        "https://example.com/?feed=podcast&author=jane&keyword=news&design=2",
        "https://media.example.com/2026/11/episode-0123456789.mp3?source=feed&v=20261121",
        "https://example.com/private",
        "http://127.0.0.1:8080/feed.xml",
        "postgresql://me:***@db/feedwatch",
        "sqlite:////srv/private/data/feedwatch.db",
    ],
)
def test_a_plain_address_stays_as_it_is(url: str) -> None:
    assert masked(f"see {url}, and {url}") == f"see {url}, and {url}"
    assert secrets_in(url) == []


def test_what_a_publisher_wrote_is_not_searched_for_tokens() -> None:
    guid = "https://h.example/?token=abc"
    assert masked_content(guid) == guid


def test_the_secrets_of_a_feeds_address_are_known_elsewhere_too() -> None:
    found = secrets_in(
        "https://joe:hush%2Dhush9@h.example/private/a1b2c3d4/feed?token=quiet-now&t=1"
    )
    assert {"hush-hush9", "a1b2c3d4", "quiet-now"} <= set(found)
    assert not {"h.example", "feed", "1", "joe"} & set(found)


def test_a_long_hostile_text_costs_no_time() -> None:
    for piece in ("http://", "http://a?", "http://a?token=", "http://a/private/", "%%", "a://" * 3):
        masked(piece * 20_000)


# The whole program


TOKEN = "t0ken-of-a-subscriber"
LOGIN = "geheim%2Bwort"
MARKS = (TOKEN, LOGIN, "geheim+wort", "secret-of-a-header", KEY)


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Scene]:
    """A feed whose address, header and password are secret, and whose audio shares its token."""
    with scene(tmp_path) as whole:
        yield made_private(whole)


def made_private(scene: Scene) -> Scene:
    plain = scene.feeds.url_of(f"/feed.xml?auth={TOKEN}")
    audio = f"https://media.example.org/1.mp3?auth={TOKEN}"
    scene.feeds.publish(item(1, url=audio), path=f"/feed.xml?auth={TOKEN}")
    scene.workspace.add_feed(
        "show",
        plain.replace("//", f"//joe:{LOGIN}@"),
        HEADERS=json.dumps({"X-Token": "secret-of-a-header"}),
        FIRST_RUN="all",
    )
    return scene


def test_no_verb_shows_a_secret(private: Scene) -> None:
    said = [private.feedwatch.once()]
    for verb in ("feeds", "status", "doctor"):
        said += [private.feedwatch.here(verb), private.feedwatch.here(verb, "--json")]
    private.feeds.answer(500, path=f"/feed.xml?auth={TOKEN}")
    private.workspace.set(LOG_LEVEL="debug", LOG_FORMAT="json")
    said += [
        private.feedwatch.once(),
        private.feedwatch.here("check"),
        private.feedwatch.here("feeds"),
    ]
    everything = "".join(one.output for one in said)
    assert not [mark for mark in MARKS if mark in everything]
    (feed,) = private.feedwatch.here("feeds", "--json").json
    assert feed["url"] == f"http://***@{private.feeds.url_of('')[7:]}/feed.xml?auth=***"


def test_what_is_submitted_is_shown_as_it_is(private: Scene) -> None:
    private.feedwatch.once()
    audio = f"https://media.example.org/1.mp3?auth={TOKEN}"
    (listed,) = private.feedwatch.here("episodes", "--json").json
    shown = private.feedwatch.here("show", listed["id"], "--json").json
    (exported,) = private.feedwatch.here("export", "--format", "json").json
    ((checked,),) = (one["items"] for one in private.feedwatch.here("check", "--json").json)
    for one in (listed, shown, exported, checked):
        assert one["enclosure_url"] == audio
    assert audio in private.feedwatch.here("export").stdout
    (sent,) = private.sandbox.taken
    assert sent["url"] == audio


def test_a_fault_of_our_own_quotes_no_secret(
    private: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError(f"about https://h.example/?auth={TOKEN}")

    monkeypatch.setattr("feedwatch.cli.inspect.configured_feeds", breaks)
    ended = private.feedwatch.here("feeds")
    assert ended.status == 1
    assert "RuntimeError: about https://h.example/?auth=***" in ended.stderr
    assert TOKEN not in ended.output
