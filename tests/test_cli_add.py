"""`init`, `add` and `remove` write the config, after a look and a question."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedwatch.cli import app, take_over
from feedwatch.cli.find_feed import address_keys, find_feed
from feedwatch.config.load import load
from feedwatch.core.feed import Document
from feedwatch.core.settings import FeedConfig
from feedwatch.feeds.feed_links import FeedLink, feed_links
from feedwatch.net.client import Cancellation, client
from feedwatch.sandbox.server import Sandbox
from tests.shared_parser import SharedParser
from tests.support import (
    KEY,
    LONG,
    PATIENCE,
    Ended,
    FeedServer,
    Feedwatch,
    Scene,
    Workspace,
    rss,
    scene,
    wait_for,
)

NEW = "/new.xml"


class Keyboard(io.StringIO):
    """Somebody types, or a pipe is read."""

    def __init__(self, typed: str, *, is_terminal: bool = True) -> None:
        super().__init__(typed)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def typed(feedwatch: Feedwatch, keyboard: Keyboard, *args: str, config: bool = True) -> Ended:
    def main() -> None:
        sys.stdin = keyboard
        app.main()

    return feedwatch.here(*args, main=main, config=config)


@pytest.fixture
def new(world: Scene) -> str:
    """The address of a feed that the config does not have, with three episodes."""
    serve(world.feeds, "Another show")
    return world.feeds.url_of(NEW)


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A world whose jobs are not final as long as a test takes."""
    with scene(tmp_path_factory.mktemp("slow"), job_seconds=LONG) as world:
        yield world


def serve(feeds: FeedServer, title: str, path: str = NEW) -> None:
    feeds.serve(rss(1, 2, 3).replace(b"A show", title.encode()), path=path)


def page(*links: tuple[str, str]) -> bytes:
    found = "".join(
        f'<link rel="alternate" type="application/rss+xml" title="{title}" href="{href}">'
        for href, title in links
    )
    return f"<!DOCTYPE html><html><head><title>A site</title>{found}</head></html>".encode()


# add


def test_add_shows_the_feed_and_writes_its_block(
    feedwatch: Feedwatch, workspace: Workspace, new: str, sandbox: Sandbox
) -> None:
    before = workspace.config.read_text()
    ended = feedwatch.here("add", new, "--yes")
    assert ended.status == 0, ended.output
    assert workspace.config.read_text() == (
        f"{before}\n# Another show\nFEEDWATCH_FEEDS__ANOTHER_SHOW__URL={new}\n"
        "FEEDWATCH_FEEDS__ANOTHER_SHOW__PODCAST_ID=podcast-2\n"
    )
    assert "episodes  3" in ended.stdout
    assert "podcast   Another show (podcast-2)" in ended.stdout
    assert "Its first check submits nothing: " in ended.stdout
    assert "No daemon runs" in ended.stdout
    assert feedwatch.once().status == 0
    assert len(sandbox.taken) == 1  # the other feed's


def test_add_foretells_what_the_first_check_then_submits(
    feedwatch: Feedwatch, new: str, sandbox: Sandbox
) -> None:
    ended = feedwatch.here("add", new, "--yes", "--first-run", "latest:2", "--name", "Mine")
    assert ended.status == 0, ended.output
    assert "Its first check submits 2 episodes" in ended.stdout
    assert "Episode 3" in ended.stdout
    assert "Episode 1" not in ended.stdout
    assert feedwatch.once().status == 0
    assert (
        sum(one["feed"] == "mine" and one["state"] == "ready" for one in feedwatch.json("episodes"))
        == 2
    )


def test_many_episodes_are_counted_and_not_all_listed(
    feedwatch: Feedwatch, feed_server: FeedServer, new: str
) -> None:
    feed_server.serve(rss(*range(1, 15)).replace(b"A show", b"Another show"), path=NEW)
    ended = feedwatch.here("add", new, "--yes", "--first-run", "all")
    assert "submits 14 episodes" in ended.stdout
    assert "and 4 more" in ended.stdout
    assert "daily" in ended.stdout


def test_nothing_is_written_without_a_yes(
    feedwatch: Feedwatch, workspace: Workspace, new: str
) -> None:
    before = workspace.config.read_text()
    ended = feedwatch.here("add", new)
    assert (ended.status, "add --yes" in ended.stderr) == (2, True)
    assert typed(feedwatch, Keyboard("n\n"), "add", new).status == 1
    assert workspace.config.read_text() == before
    assert typed(feedwatch, Keyboard("y\n"), "add", new).status == 0
    assert "ANOTHER_SHOW" in workspace.config.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--first-run", "some"], 2, "FIRST_RUN"),
        (["--name", "a b"], 2, "letters, digits"),
        (["--name", "SHOW"], 2, "named 'show' already"),
        (["--podcast", "podcast-99"], 2, "reaches no podcast podcast-99"),
    ],
)
def test_what_cannot_be_added_is_said(
    feedwatch: Feedwatch,
    workspace: Workspace,
    new: str,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    before = workspace.config.read_text()
    ended = feedwatch.here("add", new, "--yes", *arguments)
    assert (ended.status, said in ended.stderr) == (status, True), ended.stderr
    assert workspace.config.read_text() == before


def test_an_address_that_is_there_already_is_refused_however_it_is_spelt(
    feedwatch: Feedwatch, feed_server: FeedServer, new: str
) -> None:
    ended = feedwatch.here("add", feed_server.url.replace("http://", "http://me:word@"), "--yes")
    assert ended.status == 1
    assert "'show' has this address already: FEEDWATCH_FEEDS__SHOW__URL in " in ended.stderr
    assert "config.env" in ended.stderr
    feed_server.answer(301, headers={"Location": feed_server.url}, path="/old.xml")
    assert "already" in feedwatch.here("add", feed_server.url_of("/old.xml"), "--yes").stderr
    block = {"URL": new, "PODCAST_ID": "podcast-3"}
    env = {f"FEEDWATCH_FEEDS__ENV__{key}": value for key, value in block.items()}
    assert "__ENV__URL in the environment" in feedwatch.here("add", new, "--yes", env=env).stderr


def test_init_asks_nothing_where_there_is_no_folder(feedwatch: Feedwatch, tmp_path: Path) -> None:
    config = tmp_path / "none" / "config.env"
    ended = feedwatch.here("--config", str(config), "init", config=False)
    assert ended.status == 2
    assert ended.stderr == f"Error: there is no folder {config.parent}: make it first\n"


def test_a_podcast_of_another_feed_is_mentioned(
    feedwatch: Feedwatch, feed_server: FeedServer, new: str
) -> None:
    ended = feedwatch.here("add", new, "--yes", "--podcast", "podcast-1")
    assert ended.status == 0
    assert "Mind that this podcast has 1 feed in" in ended.stderr
    assert "already: show." in ended.stderr
    serve(feed_server, "Another show", "/second.xml")
    ended = feedwatch.here("add", feed_server.url_of("/second.xml"), "--yes")
    assert "the feed another_show_2" in ended.stdout


def test_the_podcast_is_never_guessed(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, new: str
) -> None:
    serve(feed_server, "One more")
    ended = feedwatch.here("add", new, "--yes")
    assert (ended.status, "6 podcasts of the API are named 'One more'" in ended.stderr) == (2, True)
    serve(feed_server, "Another shows")
    ended = feedwatch.here("add", new, "--yes")
    assert (ended.status, "Another show is podcast-2" in ended.stderr) == (2, True)
    ended = typed(feedwatch, Keyboard("1\ny\n"), "add", new)
    assert "   1  Another show (podcast-2)" in ended.stderr
    assert "ANOTHER_SHOWS__PODCAST_ID=podcast-2" in workspace.config.read_text()


def test_without_the_api_the_podcast_must_be_named(
    feedwatch: Feedwatch, workspace: Workspace, new: str
) -> None:
    workspace.set(API_URL="http://127.0.0.1:9")
    ended = feedwatch.here("add", new, "--yes")
    assert (ended.status, "name one by --podcast" in ended.stderr) == (1, True)
    ended = feedwatch.here("add", new, "--yes", "--podcast", "podcast-9")
    assert (ended.status, "is not known" in ended.stderr) == (0, True)


def test_a_pipeline_without_ads_needs_no_podcast(
    feedwatch: Feedwatch, workspace: Workspace, new: str
) -> None:
    place = "example.com/{feed}/{id}-{token}.mp3"
    workspace.set(MEDIAAPIS_OUTPUT=f"https://{place}", MEDIAAPIS_PUBLIC_URL=f"https://{place}")
    workspace.set(PIPELINE="enhance", MEDIAAPIS_KEY="app-key", MEDIAAPIS_SECRET="app-secret")
    workspace.set(FEEDS__SHOW__PIPELINE="ads")
    ended = feedwatch.here("add", new, "--yes")
    assert ended.status == 0, ended.output
    assert "ANOTHER_SHOW__PODCAST_ID" not in workspace.config.read_text()


def test_user_and_password_of_an_address_have_keys_of_their_own_and_are_not_shown(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer, new: str
) -> None:
    with_login = new.replace("http://", "http://me:s3cret%21word@")
    ended = feedwatch.here("add", with_login, "--yes")
    assert ended.status == 0, ended.output
    assert "s3cret" not in ended.output
    source = load(workspace.config, {}).source("another_show")
    assert source is not None
    assert (source.url, source.username, source.password) == (new, "me", "s3cret!word")
    asked = [headers for path, headers in feed_server.seen if path == NEW]
    assert "authorization" in asked[0]


def test_a_name_is_made_of_the_title_and_found_again(
    feedwatch: Feedwatch, feed_server: FeedServer, new: str
) -> None:
    ended = feedwatch.here("add", new, "--yes", "--podcast", "podcast-3", "--name", "mine")
    assert "the feed mine." in ended.stdout
    assert feedwatch.once().status == 0
    assert feedwatch.here("remove", "mine", "--yes").status == 0
    serve(feed_server, "Ünited — Show!")
    ended = feedwatch.here("add", new, "--yes", "--podcast", "podcast-3")
    assert "the feed mine." in ended.stdout
    assert "A feed of this name was watched before" in ended.stdout
    serve(feed_server, "Ünited — Show!", "/other.xml")
    other = feed_server.url_of("/other.xml")
    ended = feedwatch.here("add", other, "--yes", "--podcast", "podcast-4")
    assert "the feed united_show." in ended.stdout


def test_a_page_leads_to_its_feed(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, new: str
) -> None:
    feed_server.serve(page((NEW, "All")), path="/site", content_type="text/html")
    ended = feedwatch.here("add", feed_server.url_of("/site"), "--yes")
    assert ended.status == 0, ended.output
    assert f"ANOTHER_SHOW__URL={new}\n" in workspace.config.read_text()


def test_of_several_feeds_of_a_page_a_person_chooses(
    feedwatch: Feedwatch, feed_server: FeedServer, workspace: Workspace, new: str
) -> None:
    feed_server.serve(page(("/feed.xml", ""), (NEW, "New")), path="/site")
    site = feed_server.url_of("/site")
    ended = feedwatch.here("add", site, "--yes")
    assert (ended.status, "names 2 feeds" in ended.stderr) == (2, True)
    assert f"New: {new}" in ended.stderr
    assert typed(feedwatch, Keyboard("2\ny\n"), "add", site).status == 0
    assert f"ANOTHER_SHOW__URL={new}\n" in workspace.config.read_text()


def test_what_is_no_feed_and_names_none_is_refused(
    feedwatch: Feedwatch, feed_server: FeedServer
) -> None:
    feed_server.serve(page(), path="/site")
    ended = feedwatch.here("add", feed_server.url_of("/site"), "--yes")
    assert (ended.status, "HTML page" in ended.stderr) == (1, True)
    ended = feedwatch.here("add", feed_server.url_of("/none"), "--yes")
    assert (ended.status, "404" in ended.stderr) == (1, True)
    ended = feedwatch.here("add", "example.com", "--yes")
    assert (ended.status, "http://" in ended.stderr) == (2, True)


def test_the_environment_alone_is_no_file_to_write(feedwatch: Feedwatch, new: str) -> None:
    env = {"FEEDWATCH_API_KEY": KEY}
    ended = feedwatch.here("add", new, env=env, config=False)
    assert (ended.status, "no config file, only the environment" in ended.stderr) == (2, True)


# What a page, and Apple, name


def links_in(body: str) -> list[FeedLink]:
    return feed_links(Document(body=body.encode(), url="https://example.com/a/page"))


def test_links_to_feeds_are_told_from_others() -> None:
    rel = 'rel="Alternate home" type="application/rss+xml; charset=utf-8"'
    assert links_in(f'<link {rel} href="f" title="A &amp; B"><link {rel} href=f>') == [
        FeedLink("https://example.com/a/f", "A & B")
    ]
    assert links_in(f'<base href="//other.example/"><LINK {rel} href="?f=1">') == [
        FeedLink("https://other.example/?f=1", "")
    ]
    assert links_in('<link rel="alternate" type="application/atom+xml" href="/atom">')
    for no in (
        '<link rel="stylesheet" type="application/rss+xml" href="f">',
        '<link rel="alternate" type="text/html" href="f">',
        f'<link {rel} href="javascript:x">',
        f'<link {rel} href="//[broken">',
        f"<!-- <link {rel} href='f'> -->",
    ):
        assert links_in(no) == []


def apple(feeds: FeedServer, answer: bytes | None, url: str) -> str:
    if answer is not None:
        feeds.serve(answer, path="/lookup?id=123", content_type="text/javascript")
    source = FeedConfig(name="new", url=url, username="me", password="word")

    def none(_: object) -> FeedLink:
        raise AssertionError

    with client(Cancellation()) as http:
        return find_feed(http, SharedParser(), source, none, feeds.url_of(""))[0].url


APPLE = "https://podcasts.apple.com/us/podcast/some-show/id123?i=1000"


def test_apple_says_where_the_feed_of_a_show_is(feed_server: FeedServer, new: str) -> None:
    answer = {"resultCount": 2, "results": [{"kind": "artist"}, {"feedUrl": new}]}
    assert apple(feed_server, json.dumps(answer).encode(), APPLE) == new
    assert "authorization" not in feed_server.seen[-1][1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'{"results": []}', "does not know it"),
        (b'{"results": [{"kind": "podcast"}]}', "names no feed"),
        (b'{"results": [{"feedUrl": "file:///etc/passwd"}]}', "something else"),
        (b"<html>", "something else"),
        (b"[]", "something else"),
        (None, "cannot be asked: the server answered 404"),
    ],
)
def test_what_apple_does_not_say_is_said(
    feed_server: FeedServer, answer: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        apple(feed_server, answer, APPLE)
    told = capsys.readouterr().err
    assert said in told
    assert "give the feed's own address" in told


def test_an_address_without_a_login_stays_as_it_is() -> None:
    assert address_keys("https://example.com/f?a=b#c") == {"URL": "https://example.com/f?a=b#c"}


# remove


def test_remove_takes_the_block_out_and_says_what_becomes_of_its_episodes(
    feedwatch: Feedwatch, workspace: Workspace, new: str
) -> None:
    before = workspace.config.read_text()
    assert feedwatch.here("add", new, "--yes").status == 0
    ended = feedwatch.here("remove", "Another_Show")
    assert (ended.status, "add --yes" in ended.stderr) == (2, True)
    assert "No episode of it is known" in ended.stdout
    assert feedwatch.once().status == 0
    ended = feedwatch.here("remove", "Another_Show", "--yes")
    assert ended.status == 0
    assert "Its 3 episodes (3 skipped) stay known." in ended.stdout
    assert workspace.config.read_text() == before
    ended = feedwatch.here("remove", "show", "--yes")
    assert "It is the last one" in ended.stdout
    assert feedwatch.here("remove", "show", "--yes").status == 2


def test_remove_says_that_queued_episodes_wait_and_jobs_go_on(
    slow: Scene,
) -> None:
    slow.workspace.set(MAX_CONCURRENT_JOBS=1)
    slow.feeds.publish(1, 2)
    slow.feedwatch.once("--timeout", "0")
    ended = slow.feedwatch.here("remove", "show", "--yes")
    assert "; those queued (1) are not submitted; " in ended.stdout
    assert "; jobs under way (1), which are paid for, are polled on." in ended.stdout


def test_a_feed_of_the_environment_is_not_in_the_file_to_be_removed(
    feedwatch: Feedwatch, workspace: Workspace, new: str
) -> None:
    block = {"URL": new, "PODCAST_ID": "podcast-3"}
    env = {f"FEEDWATCH_FEEDS__ENV__{key}": value for key, value in block.items()}
    ended = feedwatch.here("remove", "env", "--yes", env=env)
    assert ended.status == 2
    assert "set in the environment: take FEEDWATCH_FEEDS__ENV__PODCAST_ID, " in ended.stderr


# The daemon


def test_a_running_feedwatch_takes_over_what_is_added_and_removed(
    feedwatch: Feedwatch, workspace: Workspace, sandbox: Sandbox, new: str
) -> None:
    workspace.set(MAX_CONCURRENT_JOBS=9)
    daemon = feedwatch.start("run")
    daemon.until(lambda: sandbox.taken, "the first episode")
    ended = feedwatch.here("add", new, "--yes", "--first-run", "latest:1", "--reload")
    assert ended.status == 0, ended.output
    assert f"The daemon (process {daemon.pid}) has taken it over." in ended.stdout
    wait_for(lambda: len(sandbox.taken) == 2, what="the added feed's episode")
    ended = feedwatch.here("remove", "another_show", "--yes")
    assert f"`kill -HUP {daemon.pid}`" in ended.stdout
    daemon.send(signal.SIGHUP)
    daemon.until(lambda: daemon.stderr.count("config: read anew") == 2, "the reload")
    # The last feed is not given up.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(take_over, "SECONDS", 1.0)
        ended = feedwatch.here("remove", "show", "--yes", "--reload")
    assert (ended.status, "has not taken it over: see its log" in ended.stderr) == (1, True)
    assert daemon.stop().status == 0


def test_what_the_signal_would_end_gets_none(slow: Scene) -> None:
    serve(slow.feeds, "Another show")
    once = slow.feedwatch.start("run", "--once")
    once.until(lambda: slow.sandbox.taken, "the first episode")
    ended = slow.feedwatch.here("add", slow.feeds.url_of(NEW), "--yes", "--reload")
    assert (ended.status, "cannot be told for certain" in ended.stderr) == (1, True)
    assert "systemctl reload feedwatch" in ended.stdout
    assert once.alive


# init


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with no config in it."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    return folder


def start_anew(feedwatch: Feedwatch, folder: Path, keyboard: Keyboard, *args: str) -> Ended:
    config = ["--config", str(folder / "config.env")]
    return typed(feedwatch, keyboard, *config, "init", *args, config=False)


def test_init_reads_the_key_from_a_pipe_and_checks_it(
    feedwatch: Feedwatch, fresh: Path, sandbox: Sandbox, new: str
) -> None:
    key = Keyboard(f" {KEY}\n", is_terminal=False)
    ended = start_anew(feedwatch, fresh, key, "--api-url", sandbox.url)
    assert ended.status == 0, ended.output
    assert KEY not in ended.output
    config = fresh / "config.env"
    assert config.stat().st_mode & 0o777 == 0o600
    assert "The API takes the key, which reaches 8 podcasts." in ended.stdout
    assert f"feedwatch --config {config} add URL" in ended.stdout
    settings = load(config, {})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
    assert settings.database_url == f"sqlite:///{fresh}/feedwatch.db"
    again = start_anew(feedwatch, fresh, Keyboard("other\n", is_terminal=False))
    assert (again.status, "already" in again.stderr) == (2, True)
    ended = feedwatch.here("--config", str(config), "add", new, "--yes", config=False)
    assert ended.status == 0, ended.output
    assert config.read_text().endswith("PODCAST_ID=podcast-2\n")


def test_init_names_a_key_file_and_a_database(
    feedwatch: Feedwatch, fresh: Path, sandbox: Sandbox
) -> None:
    (fresh / "key").write_text(f"{KEY}\n")
    arguments = ["--api-key-file", str(fresh / "key"), "--api-url", sandbox.url]
    arguments += ["--database", "sqlite:///other.db"]
    assert start_anew(feedwatch, fresh, Keyboard(""), *arguments).status == 0
    settings = load(fresh / "config.env", {})
    assert settings.api_key is not None
    assert settings.database_url.endswith("/fresh/other.db")
    assert KEY not in (fresh / "config.env").read_text()


def test_init_asks_on_a_terminal(
    feedwatch: Feedwatch, fresh: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: KEY)
    keyboard = Keyboard("sqlite:///typed.db\n")
    assert start_anew(feedwatch, fresh, keyboard, "--api-url", sandbox.url).status == 0
    assert load(fresh / "config.env", {}).database_url.endswith("/fresh/typed.db")


def test_a_typed_key_is_not_seen(feedwatch: Feedwatch, workspace: Workspace) -> None:
    workspace.config.unlink()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        feedwatch.command("init", "--api-url", "http://127.0.0.1:9"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=feedwatch.environment(),
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    for prompt, answer in ((b"shown): ", KEY), (b"feedwatch.db]: ", ""), (b"the daemon", "")):
        while prompt not in said:
            said += os.read(ours, 1000)
        os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    assert process.wait(PATIENCE) == 0, said
    assert KEY.encode() not in said
    assert b"could not be asked" in said
    assert KEY in workspace.config.read_text()


def test_init_goes_on_without_the_api_and_not_with_a_key_that_it_refuses(
    feedwatch: Feedwatch, fresh: Path, sandbox: Sandbox
) -> None:
    def piped(key: str, url: str) -> Ended:
        keyboard = Keyboard(key, is_terminal=False)
        return start_anew(feedwatch, fresh, keyboard, "--api-url", url)

    for key, status, said in (
        ("wr0ng-key\n", 1, "Nothing was written"),
        ("your-key-here\n", 1, "Nothing was written"),
        ("", 2, "no API key"),
        ("two words\n", 2, "one word"),
    ):
        ended = piped(key, sandbox.url)
        assert (ended.status, said in ended.stderr) == (status, True), ended.stderr
        assert not (fresh / "config.env").exists()
    assert "is a placeholder" in piped("your-key-here\n", "https://api.example.com").stderr
    ended = piped(f"{KEY}\n", "http://127.0.0.1:9")
    assert (ended.status, "could not be asked" in ended.stderr) == (0, True)
    assert "is not known yet" in ended.stdout
