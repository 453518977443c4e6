"""Feeds over time: one version after another is served, and feedwatch's loops run after each.

`python -m tests.replay FOLDER...` does it with the files NNNN.xml of any folder and prints a table.
What a version should have led to is not known here: the tests say that.
"""

import argparse
import logging
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from xml.etree import ElementTree

from feedwatch.core.episode import Episode, State
from feedwatch.core.feed import Document, Failed, Feed, ParsedFeed
from feedwatch.core.identity import Key, KeyKind
from feedwatch.core.settings import FeedConfig, Policy, Rules
from feedwatch.feeds.parser_process import Parser
from feedwatch.sandbox.server import Sandbox
from tests.support import KEY, PODCAST, FeedServer
from tests.world import World

MANY = 10_000  # more jobs and submissions than any replay asks for


class RememberingParser:
    """The parser of feedwatch, which is not asked twice about one document at one address.

    Many replays of one series are many minutes of parsing otherwise. Reading a document depends on
    nothing but what it is asked about here.
    """

    def __init__(self) -> None:
        self._parser = Parser()
        self._answers: dict[tuple[Document, tuple[str, ...]], ParsedFeed | Failed] = {}

    def parse(self, document: Document, media_types: Sequence[str]) -> ParsedFeed | Failed:
        question = (document, tuple(media_types))
        if question not in self._answers:
            self._answers[question] = self._parser.parse(document, media_types)
        return self._answers[question]

    def close(self) -> None:
        """Nothing: a process that ends takes its parser with it, and this one is shared."""

    def end(self) -> None:
        """End it for good."""
        self._parser.close()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one version has led to."""

    version: str
    items: int  # with an enclosure
    new: int  # episodes that were not there before
    submitted: tuple[str, ...] = ()  # names, as the API was told them
    held: Mapping[str, int] = field(default_factory=dict)  # how many for which reason
    skipped: int = 0
    error: str | None = None

    @property
    def known(self) -> int:
        return self.items - self.new

    @property
    def quiet(self) -> bool:
        """Whether it has changed nothing."""
        return not self.new and not self.submitted


class Replay(World):
    """A world with one feed, for which versions of it are shown one after another."""

    begins_at = datetime(2000, 1, 1, tzinfo=UTC)

    def __init__(
        self,
        path: Path,
        sandbox: Sandbox,
        feeds: FeedServer,
        parser: RememberingParser,
        rules: Rules,
    ) -> None:
        self.rules = rules
        self._shared = parser
        self._ids: set[int] = set()  # of the episodes that are there
        super().__init__(path, sandbox, feeds)

    def source(self, name: str, path: str = "/feed.xml") -> FeedConfig:
        return replace(super().source(name, path), rules=self.rules)

    def restart(self) -> None:
        self.policy = Policy(max_concurrent_jobs=MANY, max_submissions_per_day=MANY)
        super().restart()
        self.checks._evaluator._parser = self._shared

    @property
    def feed(self) -> Feed:
        return self.store.feeds.all()[0]

    def settle(self) -> None:
        """Submit what is queued, and follow its jobs to their end."""
        self.submit()
        if self.store.claims.in_flight():
            self.later(minutes=1)
            self.poll()

    def _news(self) -> list[Episode]:
        """The episodes that were not there the last time."""
        count = sum(
            sum(tally.by_state.values()) for tally in self.store.statistics.by_feed().values()
        )
        if count == len(self._ids):  # all of them, with their descriptions, take their time
            return []
        new = [one for one in self.store.episodes.find() if one.id not in self._ids]
        self._ids |= {one.id for one in new}
        return new

    def show(self, body: bytes, version: str = "") -> Outcome:
        """Serve this from now on, look at it some hours later, and do what follows."""
        taken, asked = len(self.sandbox.taken), self.feeds.count()
        self.feeds.serve(body)
        self.later(hours=6)
        self.now = max(self.now, latest_date(body) + timedelta(seconds=1))
        self.check()
        assert self.feeds.count() == asked + 1, "it was looked at, once"
        new = self._news()
        self.settle()
        feed = self.feed
        return Outcome(
            version=version,
            items=0 if feed.error else feed.item_count,
            new=len(new),
            submitted=tuple(str(body["name"]) for body in self.sandbox.taken[taken:]),
            held=Counter(described(one) for one in new if one.state is State.HELD),
            skipped=sum(one.state is State.SKIPPED for one in new),
            error=feed.error,
        )


def latest_date(body: bytes) -> datetime:
    """When the newest item of a document was published, as its publisher says; never after today.

    So each version is looked at after what it has was published, and before what comes next.
    """
    dates = [datetime(2000, 1, 1, tzinfo=UTC)]
    for text in re.findall(rb"<pubDate>\s*([^<]+?)\s*</pubDate>", body):
        with suppress(ValueError):
            date = parsedate_to_datetime(text.decode("ascii", "replace"))
            dates.append(date if date.tzinfo is not None else date.replace(tzinfo=UTC))
    return max(date for date in dates if date <= datetime.now(UTC))


def described(episode: Episode) -> str:
    """Why an episode is held, in words that do not depend on which one it is."""
    reason = re.sub(r"\bepisode \d+", "an episode", episode.reason or "")
    return re.sub(r"\d+ new items", "new items", reason)


@contextmanager
def replay(
    path: Path, feeds: FeedServer, parser: RememberingParser, rules: Rules
) -> Iterator[Replay]:
    """A new database at `path`, and a media API of its own whose jobs are done at once."""
    with Sandbox(api_key=KEY, podcasts={PODCAST: "The show"}, job_seconds=0.0) as sandbox:
        one = Replay(path, sandbox, feeds, parser, rules)
        try:
            yield one
        finally:
            one.end()
            one.store.close()


def versions(folder: Path) -> list[Path]:
    """The versions in a folder, the oldest first."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9].xml"))


# Whole series


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a series, and whether anything that it ever held is missing."""

    outcomes: dict[str, Outcome]  # by version
    repeats: list[Outcome]  # of the older copies that were shown in between
    taken: list[tuple[str, str, str]]  # of each submission the audio, the name and the date
    lost: dict[str, int]  # guids that do not lead to one episode, and to how many they do
    unfinished: list[str]  # names of episodes that are neither ready, held nor skipped


def run(
    files: Sequence[Path],
    rules: Rules,
    parser: RememberingParser,
    *,
    restarting: bool = False,
    copies: Sequence[int] = (),
) -> Report:
    """Show all versions. `copies` are how many versions back the copies are that follow each."""
    outcomes: dict[str, Outcome] = {}
    repeats: list[Outcome] = []
    guids: set[str] = set()
    with (
        tempfile.TemporaryDirectory() as folder,
        FeedServer() as feeds,
        replay(Path(folder) / "feedwatch.db", feeds, parser, rules) as one,
    ):
        for place, file in enumerate(files):
            outcomes[file.stem] = one.show(file.read_bytes(), file.stem)
            guids |= {guid for guid, _ in enclosures(file)}
            if restarting:
                one.restart()
            for back in copies:
                older = files[max(0, place - back)]
                repeats.append(one.show(older.read_bytes(), f"{older.stem} again"))
        episodes = one.store.episodes.find()
        keys = Counter(key for episode in episodes for key in one.store.episodes.keys(episode.id))
        final = (State.READY, State.HELD, State.SKIPPED)
        return Report(
            outcomes=outcomes,
            repeats=repeats,
            taken=[(job["url"], job["name"], job["publishedDate"]) for job in one.sandbox.taken],
            lost={guid: number for guid in guids if (number := keys[Key(KeyKind.GUID, guid)]) != 1},
            unfinished=[each.title for each in episodes if each.state not in final],
        )


def enclosures(file: Path) -> list[tuple[str, str]]:
    """Guid and audio of each item that has audio, read by other means than feedwatch's."""
    try:
        items = ElementTree.fromstring(file.read_bytes().strip()).iter("item")
    except ElementTree.ParseError:
        return []
    return [
        ((item.findtext("guid") or "").strip(), enclosure.get("url", ""))
        for item in items
        if (enclosure := item.find("enclosure")) is not None
    ]


# On the command line


def table(outcomes: Sequence[Outcome], *, brief: bool) -> Iterator[str]:
    """As Markdown; `brief` makes one row of versions that led to the same."""
    yield "| version | items | known | submitted | held | failed |"
    yield "|---|--:|--:|--:|---|---|"
    rows: list[list[Outcome]] = []
    for number, outcome in enumerate(outcomes):
        if brief and number > 1 and _tells(outcome) == _tells(rows[-1][-1]):
            rows[-1].append(outcome)
        else:
            rows.append([outcome])
    for row in rows:
        first = row[0]
        each = " each" if len(row) > 1 and first.submitted else ""
        held = "; ".join(f"{count} {reason}" for reason, count in sorted(first.held.items()))
        yield (
            f"| {_range(one.version for one in row)} | {_range(one.items for one in row)} "
            f"| {_range(one.known for one in row)} | {len(first.submitted) or '-'}{each} "
            f"| {held or '-'} | {'yes' if first.error else '-'} |"
        )


def _tells(outcome: Outcome) -> tuple[object, ...]:
    return len(outcome.submitted), dict(outcome.held), bool(outcome.error)


def _range(values: Iterable[object]) -> str:
    texts = [str(value) for value in values]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__)
    arguments.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    arguments.add_argument("--flood-limit", type=int, default=Rules().flood_limit)
    arguments.add_argument("--brief", action="store_true", help="one row for versions alike")
    asked = arguments.parse_args()
    logging.disable(logging.WARNING)
    rules = Rules(flood_limit=asked.flood_limit)
    for folder in asked.folders:
        parser = RememberingParser()
        report = run(versions(folder), rules, parser)
        parser.end()
        rows = table(list(report.outcomes.values()), brief=asked.brief)
        sys.stdout.write("\n".join([f"### {folder.name}", "", *rows, "\n"]))


if __name__ == "__main__":
    main()
