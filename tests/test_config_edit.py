"""A feed's block goes into the config file and out of it, and nothing else in it changes."""

import errno
import os
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedwatch.config import edit
from feedwatch.config.edit import (
    change_config,
    create_config,
    feeds_in,
    quoted,
    with_feed,
    without_feed,
)
from feedwatch.config.errors import ConfigError
from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.config.locate import dotenv_parser

NEW = {"URL": "https://new.example.org/feed?a=1&b=2", "PODCAST_ID": "podcast-9"}
NEW_LINES = (
    "FEEDWATCH_FEEDS__NEW__URL='https://new.example.org/feed?a=1&b=2'\n"
    "FEEDWATCH_FEEDS__NEW__PODCAST_ID=podcast-9\n"
)
TWO = """# Ours
FEEDWATCH_API_KEY='a # b'

# The first show
FEEDWATCH_FEEDS__ONE__URL=https://one.example.org/
FEEDWATCH_FEEDS__ONE__PODCAST_ID=podcast-1
FEEDWATCH_FEEDS__ONE__AD_OPTIONS='{
  "preRoll": {"adCount": 1}
}'

FEEDWATCH_FEEDS__TWO__URL=https://two.example.org/
FEEDWATCH_FEEDS__TWO__PODCAST_ID=podcast-2

# Below
FEEDWATCH_FLOOD_LIMIT=9
"""


def settings(text: str) -> Settings:
    return load(Path("/config/config.env"), {}, text=text)


def test_a_block_goes_below_the_last_one() -> None:
    after = with_feed(TWO, "new", NEW, "The\nnew show")
    assert after == TWO.replace("\n\n# Below", f"\n\n# The new show\n{NEW_LINES}\n# Below")
    assert feeds_in(after) == {"one", "two", "new"}
    assert without_feed(after, "NEW") == TWO


def test_a_disabled_key_right_below_its_block_stays_with_it_and_goes_with_it() -> None:
    block = "FEEDWATCH_FEEDS__A__URL=https://a.example/f\nFEEDWATCH_FEEDS__A__PODCAST_ID=a\n"
    disabled = "#FEEDWATCH_FEEDS__A__FIRST_RUN=all\n"
    other = "\n#FEEDWATCH_FEEDS__B__FIRST_RUN=all\n"
    text = with_feed(block + disabled + other, "c", {"URL": "https://c.example/f"})
    assert text.startswith(block + disabled + "\nFEEDWATCH_FEEDS__C__URL=")
    assert without_feed(text, "c") == block + disabled + other
    assert without_feed(block + disabled + other, "a").strip() == other.strip()


def test_without_any_feed_it_goes_to_the_end_and_with_nothing_it_is_all() -> None:
    assert with_feed("FEEDWATCH_API_KEY=k\n\n\n", "new", NEW) == (
        f"FEEDWATCH_API_KEY=k\n\n{NEW_LINES}\n\n"
    )
    assert with_feed("", "new", NEW) == NEW_LINES


def test_what_follows_directly_is_parted_from_the_block() -> None:
    text = "FEEDWATCH_FEEDS__ONE__URL=https://one.example.org/\nFEEDWATCH_LOG_LEVEL=info\n"
    first, second = text.splitlines(keepends=True)
    assert with_feed(text, "new", NEW) == f"{first}\n{NEW_LINES}\n{second}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_a_mark_and_a_missing_last_line_end_stay(
    end: str, is_ended: bool, bom: str
) -> None:
    plain = "# Ours\nFEEDWATCH_API_KEY=k" + "\n" * is_ended
    text = bom + plain.replace("\n", end)
    after = with_feed(text, "new", NEW)
    lines = NEW_LINES if is_ended else NEW_LINES.removesuffix("\n")
    assert after == bom + f"# Ours\nFEEDWATCH_API_KEY=k\n\n{lines}".replace("\n", end)
    assert without_feed(after, "new") == text


def test_a_block_goes_with_its_values_over_several_lines_and_its_comment() -> None:
    start, end = TWO.index("\n# The first show"), TWO.index("\nFEEDWATCH_FEEDS__TWO")
    assert without_feed(TWO, "one") == TWO[:start] + TWO[end:]


ONE = "FEEDWATCH_FEEDS__ONE__URL=u\n'FEEDWATCH_FEEDS__ONE__PODCAST_ID' = p # its id\n"
OTHER = "export FEEDWATCH_FEEDS__OTHER__URL=v\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"# both\n{ONE}{OTHER}", f"# both\n{OTHER}"),
        (f"# its\n# own\n{ONE}# other\n{OTHER}", f"# other\n{OTHER}"),
        (f"# of all\n\n{ONE}", "# of all\n"),
        (f"#FEEDWATCH_LISTEN=x\n# its own\n{ONE}", "#FEEDWATCH_LISTEN=x\n"),
        (f"# listen\n#FEEDWATCH_LISTEN=x\n{ONE}", "# listen\n#FEEDWATCH_LISTEN=x\n"),
        (f"#FEEDWATCH_FEEDS__ONE__FIRST_RUN=all\n{ONE}", ""),
        (f"X=1\n\n{ONE}{OTHER}", f"X=1\n\n{OTHER}"),
        (f"{ONE}{OTHER}{ONE}", OTHER),
        (f"# a\n\n# its\n{ONE}\n# b\n", "# a\n\n# b\n"),
    ],
)
def test_a_comment_goes_only_with_the_block_that_it_is_about(text: str, left: str) -> None:
    assert without_feed(text, "one") == left


def test_what_cannot_be_put_in_or_taken_out_is_refused() -> None:
    for name, said in (("one", "already"), ("a__b", "letters"), ("ä", "letters")):
        with pytest.raises(ConfigError, match=said):
            with_feed(TWO, name, NEW)
    with pytest.raises(ConfigError, match="no feed 'three'"):
        without_feed(TWO, "three")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")))
def test_a_quoted_value_is_read_back(value: str) -> None:
    bindings = dotenv_parser().parse_stream(StringIO(f"A={quoted(value)}\nB=1\n"))
    assert [(one.key, one.value) for one in bindings] == [("A", value), ("B", "1")]


LAYOUT = st.sampled_from(["", "\n", " \t\n\n", "# a comment\n", "\n# one\n# two\n", "#A=1 'x\n"])
GLOBALS = st.sampled_from(
    [
        "FEEDWATCH_FLOOD_LIMIT=3\n",
        "export FEEDWATCH_LOG_LEVEL = 'debug' # loud\n",
        'FEEDWATCH_NOTIFY_COMMAND="cat\n -"\n',
        "FEEDWATCH_PROXY=\n",
    ]
)
FEED_LINES = st.sets(
    st.sampled_from(
        [
            "FEEDWATCH_FEEDS__{}__FIRST_RUN=latest:3 # some\n",
            "FEEDWATCH_FEEDS__{}__INCLUDE_TITLE='it\\'s \\\\d #1'\n",
            '  FEEDWATCH_FEEDS__{}__AD_OPTIONS=\'{{\n"preRoll":\n\n{{"adCount": 1}}}}\'\n',
            "FEEDWATCH_FEEDS__{}__FLOOD_LIMIT=\n",
        ]
    )
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    """Texts that load, with lines of all kinds in any order."""
    lines = ["FEEDWATCH_API_KEY=abcdef\n", *draw(st.sets(GLOBALS))]
    for name in draw(st.sets(st.sampled_from(["one", "TWO", "a-b_c"]))):
        needed = [f"FEEDWATCH_FEEDS__{name}__URL=https://{len(name)}.example.org/{name}\n"]
        needed.append(f"FEEDWATCH_FEEDS__{name}__PODCAST_ID=podcast-1\n")
        lines += [*needed, *(line.format(name) for line in draw(FEED_LINES))]
    if draw(st.booleans()):
        lines = draw(st.permutations(lines))
    text = "".join(draw(LAYOUT) + line for line in lines) + draw(LAYOUT)
    text = text if draw(st.booleans()) else text.rstrip("\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text.replace(
        "\n", draw(st.sampled_from(["\n", "\r\n"]))
    )


@given(configs(), st.sampled_from(["", 'It\'s "new"']))
def test_a_block_in_is_that_feed_more_and_out_again_is_what_was_before(
    text: str, comment: str
) -> None:
    before = settings(text)
    put_in = with_feed(text, "new", {**NEW, "FIRST_RUN": "latest:2"}, comment)
    added = settings(put_in).source("new")
    assert added is not None
    assert (added.url, added.podcast_id) == (NEW["URL"], NEW["PODCAST_ID"])
    others = tuple(one for one in settings(put_in).sources if one is not added)
    assert replace(settings(put_in), sources=others) == replace(before, sources=others)
    assert {one.name: one for one in settings(put_in).sources if one.name != "new"} == {
        one.name: one for one in before.sources
    }
    assert settings(without_feed(put_in, "new")) == before
    assert text.strip() in put_in or feeds_in(text)


@given(configs(), st.sampled_from(["one", "two", "a-b_c"]))
def test_a_block_out_leaves_all_other_settings(text: str, name: str) -> None:
    if name in feeds_in(text):
        before, after = settings(text), settings(without_feed(text, name))
        left = tuple(one for one in before.sources if one.name != name)
        assert after == replace(before, sources=left)


# The file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "config.env"
    path.parent.mkdir()
    path.write_text(TWO)
    path.chmod(0o640)
    return path


def test_the_file_is_replaced_as_a_whole_with_its_mode_and_through_a_link(
    config: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.env"
    link.symlink_to(config)
    with config.open() as opened:
        found = change_config(link, lambda text: with_feed(text, "new", NEW), {})
        assert opened.read() == TWO  # who reads it at the time reads one of the two
    assert found.source("new") is not None
    assert config.read_text() == with_feed(TWO, "new", NEW)
    assert config.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert [one.name for one in config.parent.iterdir()] == ["config.env"]


def test_what_would_not_load_is_not_written(config: Path) -> None:
    with pytest.raises(ConfigError, match="FIRST_RUN"):
        change_config(config, lambda text: with_feed(text, "new", NEW | {"FIRST_RUN": "x"}), {})
    assert config.read_text() == TWO


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_the_owner_is_kept(config: Path) -> None:
    os.chown(config, 12345, 23456)
    change_config(config, lambda text: without_feed(text, "two"), {})
    assert (config.stat().st_uid, config.stat().st_gid) == (12345, 23456)


def test_changes_at_once_lose_nothing(config: Path) -> None:
    def add(name: str) -> None:
        values = NEW | {"URL": f"https://{name}.example.org/"}
        change_config(config, lambda text: with_feed(text, name, values), {})

    threads = [threading.Thread(target=add, args=[f"new{one}"]) for one in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert feeds_in(config.read_text()) == {"one", "two", *(f"new{one}" for one in range(8))}


def test_what_an_editor_saves_in_between_is_not_lost(config: Path) -> None:
    def change(text: str) -> str:
        config.write_text(f"{text}# saved\n")
        return with_feed(text, "new", NEW)

    with pytest.raises(ConfigError, match="changed at the same time"):
        change_config(config, change, {})
    assert config.read_text() == f"{TWO}# saved\n"


def test_a_file_that_cannot_be_replaced_is_written_into(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_mounted(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", is_mounted)  # as where one file is mounted by itself
    inode = config.stat().st_ino
    change_config(config, lambda text: without_feed(text, "one"), {})
    assert config.read_text() == without_feed(TWO, "one")
    assert config.stat().st_ino == inode
    assert [one.name for one in config.parent.iterdir()] == ["config.env"]


def test_a_file_with_an_access_list_is_written_into(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listxattr", lambda _: [edit.ACCESS_LIST])
    inode = config.stat().st_ino
    change_config(config, lambda text: without_feed(text, "one"), {})
    assert config.stat().st_ino == inode


def test_a_full_disk_leaves_the_file_as_it_was(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.pwrite

    def full(descriptor: int, content: bytes, place: int) -> int:
        if b"NEW" in content:
            written(descriptor, content[:99], place)
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(descriptor, content, place)

    monkeypatch.setattr(os, "pwrite", full)
    for attributes in ([], [edit.ACCESS_LIST]):
        monkeypatch.setattr(os, "listxattr", lambda _, found=attributes: found)
        with pytest.raises(ConfigError, match=r"cannot be changed: .*No space left"):
            change_config(config, lambda text: with_feed(text, "new", NEW), {})
        assert config.read_text() == TWO
    with pytest.raises(ConfigError, match="No space left"):
        create_config(config.parent / "other.env", with_feed(TWO, "new", NEW), {})
    assert [one.name for one in config.parent.iterdir()] == ["config.env"]


def test_a_first_file_is_for_its_owner_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    assert create_config(path, TWO, {}).source("one") is not None
    assert path.read_text() == TWO
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="already"):
        create_config(path, "", {})
    with pytest.raises(ConfigError, match="cannot be written"):
        create_config(tmp_path / "none" / "config.env", TWO, {})
    assert path.read_text() == TWO
