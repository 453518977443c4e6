"""docs/trouble.md quotes what feedwatch says, and what it tells to do about it helps."""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from feedwatch.sandbox.faults import Fault
from tests.support import KEY, PODCAST, ROOT, Scene

TROUBLE = ROOT / "docs/trouble.md"
ROW = re.compile(r"^\| (.+?) \|", re.MULTILINE)
SPAN = re.compile(r"``(.+?)``|`([^`]+)`")
VARIES = "…"
PLACEHOLDER = re.compile(r"%(?:\.\d+)?[sdrf]")


def messages() -> list[str]:
    """What the first columns of the tables quote."""
    cells = ROW.findall(TROUBLE.read_text(encoding="utf-8"))
    found = (one or other for cell in cells for one, other in SPAN.findall(cell))
    return [text.strip() for text in found if " " in text.strip()]


def pattern(message: str) -> re.Pattern[str]:
    parts = (r"\s+".join(map(re.escape, part.split(" "))) for part in message.split(VARIES))
    return re.compile(".*?".join(parts), re.DOTALL)


def said() -> Iterator[str]:
    """Every text in the code; what an f-string or a log call fills in is `VARIES`."""
    sources = (file.read_text(encoding="utf-8") for file in (ROOT / "feedwatch").rglob("*.py"))
    for node in chain.from_iterable(ast.walk(ast.parse(source)) for source in sources):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else VARIES
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield PLACEHOLDER.sub(VARIES, node.value)


def test_each_message_that_the_page_quotes_is_in_the_code() -> None:
    texts = list(said())
    reworded = [one for one in messages() if not any(map(pattern(one).search, texts))]
    assert not reworded
    vague = [one for one in messages() if len(re.sub(r"\W", "", one)) < 7]
    assert not vague, "too little to find them by"


def test_each_table_has_messages_and_no_message_is_there_twice() -> None:
    text, quoted = TROUBLE.read_text(encoding="utf-8"), messages()
    assert len(quoted) > 60
    assert len(re.findall(r"^\|---", text, re.MULTILINE)) == text.count("| message |")
    assert sorted(quoted) == sorted(set(quoted))


# Provoked, and mended as the page says


def by_pause(world: Scene) -> None:
    world.feedwatch.here("pause")


def by_a_wrong_key(world: Scene) -> None:
    world.workspace.set(API_KEY="a-key-that-nobody-knows")
    world.feedwatch.once()


def by_a_wrong_podcast(world: Scene) -> None:
    world.workspace.set(FEEDS__SHOW__PODCAST_ID="podcast-of-nobody")
    world.feedwatch.once()


def by_a_flood(world: Scene) -> None:
    world.workspace.set(FEEDS__SHOW__FLOOD_LIMIT=0)
    world.feedwatch.once()
    world.feeds.publish(1, 2)
    world.feedwatch.once()


def by_a_dropped_connection(world: Scene) -> None:
    world.sandbox.faults.add(Fault(on="submit", kind="drop_after"))
    world.feedwatch.once()


def by_a_lost_feed(world: Scene) -> None:
    world.feeds.answer(410)
    world.feedwatch.once()


def by_an_old_copy(world: Scene) -> None:
    database = world.workspace.database
    world.feedwatch.once()
    copy = world.workspace.folder / "copy.db"
    assert world.feedwatch.here("backup", str(copy)).status == 0
    world.feeds.publish(1, 2)
    world.feedwatch.once()
    for end in ("-wal", "-shm"):
        database.with_name(f"{database.name}{end}").unlink(missing_ok=True)
    shutil.copy(copy, database)


def by_a_misspelt_key(world: Scene) -> None:
    world.workspace.set(CHEK_INTERVAL="1m")


def nothing(_world: Scene) -> None:
    """It mends itself."""


def resume(world: Scene) -> None:
    assert world.feedwatch.here("resume").status == 0


def set_the_key(world: Scene) -> None:
    world.workspace.set(API_KEY=KEY)


def set_the_podcast(world: Scene) -> None:
    world.workspace.set(FEEDS__SHOW__PODCAST_ID=PODCAST)


def approve(world: Scene) -> None:
    assert world.feedwatch.here("approve", "--feed", "show", "--yes").status == 0


def adopt(world: Scene) -> None:
    (media_id,) = world.sandbox.jobs
    number = world.feedwatch.episode()["id"]
    assert world.feedwatch.here("adopt", number, media_id).status == 0


def publish(world: Scene) -> None:
    world.feeds.publish(1)


def correct_the_key(world: Scene) -> None:
    world.workspace.set(CHEK_INTERVAL=None)


@pytest.mark.parametrize(
    ("provoke", "look", "message", "mend"),
    [
        (by_pause, "status", "paused… by …; … ends it", resume),
        (
            by_a_wrong_key,
            "doctor",
            "the API refuses the key (401 …): mend FEEDWATCH_API_KEY",
            set_the_key,
        ),
        (
            by_a_wrong_podcast,
            "status",
            "nothing is submitted: the API key reaches no podcast …; …",
            set_the_podcast,
        ),
        (by_a_flood, "episodes", "flood: … in one check, the limit is …; …", approve),
        (by_a_dropped_connection, "episodes", "may or may not have been taken: …", adopt),
        (by_a_lost_feed, "feeds", "gone: the server answered 410", publish),
        (by_an_old_copy, "doctor", "the journal has … that this database lacks: …", nothing),
        (by_a_misspelt_key, "status", "…: nothing reads this key…", correct_the_key),
    ],
)
def test_what_the_page_says_to_do_helps(
    provoke: Callable[[Scene], None],
    look: str,
    message: str,
    mend: Callable[[Scene], None],
    world: Scene,
) -> None:
    assert message in messages()
    provoke(world)
    assert pattern(message).search(world.feedwatch.here(look).output)
    mend(world)
    assert world.feedwatch.once().status == 0
    assert set(world.feedwatch.states().values()) == {"ready"}
    assert not pattern(message).search(world.feedwatch.here(look).output)


def test_a_database_that_no_daemon_has_is_said_to_be_so(world: Scene) -> None:
    message = "not running: no daemon has this database"
    assert message in messages()
    ended = world.feedwatch.here("healthcheck")
    assert (ended.status, message in ended.stderr) == (5, True)
