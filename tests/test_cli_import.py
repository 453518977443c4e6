"""`import`: the feeds of an OPML file, taken into the config."""

from pathlib import Path

import pytest

from feedwatch.cli import app
from feedwatch.core.import_plan import Outline
from feedwatch.feeds.opml import opml_of
from feedwatch.sandbox.server import Sandbox
from tests.support import KEY, Ended, FeedServer, Feedwatch, Workspace
from tests.test_opml import NOW

SHOW = Outline(url="https://a.example/another.xml", titles=("Another show",))
STRANGE = Outline(url="https://a.example/strange.xml", titles=("Nobody knows it",))


@pytest.fixture
def with_list(feedwatch: Feedwatch, workspace: Workspace) -> Feedwatch:
    """feedwatch with shows.opml beside its config: one new feed, one configured, one unknown."""
    workspace.set(CHECK_INTERVAL="15m")
    configured = Outline(url=workspace_url(workspace), titles=("The show",))
    write(workspace, SHOW, configured, STRANGE)
    return feedwatch


def workspace_url(workspace: Workspace) -> str:
    text = workspace.config.read_text(encoding="utf-8")
    return text.partition("__URL='")[2].partition("'")[0]


def write(workspace: Workspace, *outlines: Outline) -> None:
    (workspace.folder / "shows.opml").write_bytes(opml_of(outlines, NOW))


def import_list(feedwatch: Feedwatch, *options: str) -> Ended:
    return feedwatch.here("import", "../shows.opml", *options)


def config_of(workspace: Workspace) -> str:
    return workspace.config.read_text(encoding="utf-8")


def test_what_is_new_and_matched_is_written_and_the_rest_is_listed(
    with_list: Feedwatch, workspace: Workspace
) -> None:
    before = config_of(workspace)
    ended = import_list(with_list, "--yes")
    assert ended.status == 3
    assert "1 new feed, 1 configured already, 1 not matched" in ended.stdout
    assert "configured as feed show" in ended.stdout
    assert "no podcast has its name" in ended.stdout
    assert config_of(workspace) == before.rstrip("\n") + (
        "\n\n# Another show\n"
        "FEEDWATCH_FEEDS__ANOTHER_SHOW__URL=https://a.example/another.xml\n"
        "FEEDWATCH_FEEDS__ANOTHER_SHOW__PODCAST_ID=podcast-2\n"
    )
    assert workspace.config.stat().st_mode & 0o777 == 0o600
    assert not workspace.database.exists()


def test_a_second_import_has_nothing_to_add(with_list: Feedwatch, workspace: Workspace) -> None:
    write(workspace, SHOW)
    first = import_list(with_list, "--yes")
    assert (first.status, first.stderr) == (0, "")
    after = config_of(workspace)
    again = import_list(with_list)
    assert (again.status, again.stderr) == (0, "")
    assert "0 new feeds, 1 configured already, 0 not matched" in again.stdout
    assert config_of(workspace) == after


def test_without_yes_and_without_a_terminal_nothing_is_written(
    with_list: Feedwatch, workspace: Workspace
) -> None:
    before = config_of(workspace)
    ended = import_list(with_list)
    assert ended.status == 2
    assert "--yes" in ended.stderr
    assert "another_show" in ended.stdout
    assert config_of(workspace) == before


def test_the_first_run_is_written_into_each_block_and_a_wrong_one_refused(
    with_list: Feedwatch, workspace: Workspace
) -> None:
    before = config_of(workspace)
    wrong = import_list(with_list, "--yes", "--first-run", "most")
    assert wrong.status == 2
    assert "expected none, latest:N" in wrong.stderr
    assert config_of(workspace) == before
    import_list(with_list, "--yes", "--first-run", "latest:1")
    assert "FEEDWATCH_FEEDS__ANOTHER_SHOW__FIRST_RUN=latest:1\n" in config_of(workspace)


def test_a_login_in_an_address_gets_keys_of_its_own_and_is_not_shown(
    with_list: Feedwatch, workspace: Workspace
) -> None:
    write(workspace, SHOW._replace(url="https://me:pass-phrase@a.example/f"))
    ended = import_list(with_list, "--yes")
    assert ended.status == 0
    assert "pass-phrase" not in ended.output
    block = config_of(workspace).partition("# Another show\n")[2].splitlines()
    assert [line.partition("ANOTHER_SHOW__")[2] for line in block] == [
        "URL=https://a.example/f",
        "PODCAST_ID=podcast-2",
        "USERNAME=me",
        "PASSWORD=pass-phrase",
    ]


def test_a_list_comes_by_standard_input_too(with_list: Feedwatch, workspace: Workspace) -> None:
    def main() -> None:
        with pytest.MonkeyPatch.context() as patch, (workspace.folder / "shows.opml").open() as it:
            patch.setattr("sys.stdin", it)
            app.main()

    ended = with_list.here("import", "-", "--yes", main=main)
    assert ended.status == 3
    assert "ANOTHER_SHOW" in config_of(workspace)


@pytest.mark.parametrize(
    ("text", "words"),
    [("<rss/>", "it is no OPML"), ("<opml/>", "no outline in it has an xmlUrl")],
)
def test_a_file_without_feeds_is_an_error(
    with_list: Feedwatch, workspace: Workspace, text: str, words: str
) -> None:
    (workspace.folder / "shows.opml").write_text(text)
    ended = import_list(with_list, "--yes")
    assert ended.status == 1
    assert words in ended.stderr


def test_a_file_that_is_not_there_is_wrong_usage(feedwatch: Feedwatch) -> None:
    assert feedwatch.here("import", "nosuch.opml").status == 2


def test_without_a_config_file_there_is_nowhere_to_write(
    with_list: Feedwatch, sandbox: Sandbox
) -> None:
    env = {"FEEDWATCH_API_KEY": KEY, "FEEDWATCH_API_URL": sandbox.url}
    ended = with_list.here("import", "../shows.opml", "--yes", config=False, env=env)
    assert ended.status == 2
    assert "only the environment" in ended.stderr


def test_where_the_api_lists_no_podcasts_nothing_is_written(
    with_list: Feedwatch, workspace: Workspace
) -> None:
    workspace.set(API_KEY="wrong")
    before = config_of(workspace)
    ended = import_list(with_list, "--yes")
    assert ended.status == 1
    assert "the podcasts cannot be listed" in ended.stderr
    assert config_of(workspace) == before


def test_what_was_exported_is_imported_again(
    feedwatch: Feedwatch, workspace: Workspace, feed_server: FeedServer
) -> None:
    workspace.set(CHECK_INTERVAL="15m")
    workspace.add_feed("other-one", "https://a.example/?a=1&b=2", "podcast-2")
    workspace.add_feed("third", "https://a.example/3", "podcast-2")
    (workspace.folder / "shows.opml").write_bytes(feedwatch.here("export", "--format", "opml").raw)
    before = {one["name"]: one["url"] for one in feedwatch.json("feeds")}
    exported = feedwatch.here("export", "--format", "opml").raw
    for name in ("OTHER-ONE", "THIRD", "SHOW"):
        for key in ("URL", "PODCAST_ID", "FIRST_RUN"):
            workspace.set(**{f"FEEDS__{name}__{key}": None})
    assert import_list(feedwatch, "--yes").status == 0
    assert {one["name"]: one["url"] for one in feedwatch.json("feeds")} == before
    again = feedwatch.here("export", "--format", "opml").raw
    assert again.partition(b"<body>")[2] == exported.partition(b"<body>")[2]
    assert before["show"] == feed_server.url


@pytest.mark.parametrize(
    "runs", [False, pytest.param(True, marks=pytest.mark.long)], ids=["to the config", "to the end"]
)
def test_two_hundred_shows_take_three_commands(
    feedwatch: Feedwatch, feed_server: FeedServer, tmp_path: Path, *, runs: bool
) -> None:
    shows = {f"p-{number}": f"Show number {number}" for number in range(200)}
    paths = {name: f"/{number}.xml" for number, name in shows.items()}
    for path in paths.values() if runs else ():
        feed_server.publish(1, path=path)
    folder = tmp_path / "fresh"
    folder.mkdir()
    outlines = [
        Outline(url=feed_server.url_of(path), titles=(name,)) for name, path in paths.items()
    ]
    (folder / "shows.opml").write_bytes(opml_of(outlines, NOW))
    (folder / "key").write_text(KEY)
    with Sandbox(api_key=KEY, podcasts=shows) as api:
        at_api = ("--api-key-file", "key", "--api-url", api.url)
        begun = feedwatch.here("init", *at_api, config=False, folder=folder)
        assert begun.status == 0, begun.stderr
        added = feedwatch.here("import", "shows.opml", "--yes", config=False, folder=folder)
        assert added.status == 0, added.stderr
        assert "200 new feeds, 0 configured already, 0 not matched" in added.stdout
        assert not feed_server.seen
        config = (folder / "config.env").read_text(encoding="utf-8")
        assert config.count("__PODCAST_ID=") == 200
        if runs:
            daemon = feedwatch.start("run", config=False, folder=folder)
            daemon.until(lambda: len({path for path, _ in feed_server.seen}) == 200, "all checks")
            assert daemon.stop().status == 0
