"""One world: a publisher, an API, a folder with a config, and a daemon that dies on and on."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from feedwatch.cli.sandbox import mediaapis_lines
from feedwatch.core.pipeline import ORDER
from feedwatch.sandbox.faults import Fault
from feedwatch.sandbox.server import Sandbox
from tests.crash.boundaries import Crumb, Trap
from tests.crash.copies import Copies, JournalFiles
from tests.crash.figures import Figures
from tests.crash.inspection import UNBORN, Picture, Row, of_the_dead, of_the_living
from tests.crash.launcher import Launcher, Life, Order
from tests.crash.plan import RESTORED, TWO_STEPS, Kill, Plan, Restore
from tests.crash.posts import Paid, Post, posts
from tests.support import PATIENCE, FeedServer, Workspace, audio, item, wait_for

FEEDS = ("alpha", "beta", "gamma", "late")
LATE = "late"  # takes only the latest of what it holds when it is first seen
BACK_CATALOGUE = 3  # items of that feed at the start
MOST_MORE = 40  # episodes beside one life: each has to be submitted before the world is at rest
MOST_DOUBTS = 3  # in a row; then a life in peace comes first, for the gate waits ever longer
JOB_SECONDS = 0.1
LONGER_JOB_SECONDS = 0.2  # where polls must see jobs under way
AT_THE_API = ("submitting", "unknown", "processing", "ready")  # states of what was sent


class Violation(Exception):  # noqa: N818 - it is what was found, and no error of ours
    """Something did not hold. Says what, and where."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """An episode that a feed has published."""

    feed: str
    guid: str
    url: str
    skipped: bool = False  # older than the first run takes


class World:
    """Call `run` once."""

    def __init__(
        self, folder: Path, launcher: Launcher, seed: int, number: int, pipeline: str
    ) -> None:
        self._place = f"seed {seed}, world {number}"
        self._plan = Plan(seed, number, pipeline)
        self._steps = self._plan.pipeline.split(",")
        self._random = self._plan.random
        self._launcher = launcher
        self._folder = folder
        self._sandbox = Sandbox(
            api_key="k3y-that-nobody-may-see",
            podcasts={f"podcast-{feed}": feed for feed in FEEDS},
            job_seconds=JOB_SECONDS if len(self._steps) == 1 else LONGER_JOB_SECONDS,
        )
        self._feeds = FeedServer()
        self._shown: dict[str, set[str]] = {}  # the guids in each document, by its ETag
        self._items: dict[str, list[str]] = {feed: [] for feed in FEEDS}
        self._published: dict[str, Published] = {}
        self._number = 0
        self._picture = UNBORN
        # Guids, each with its step, that a death left between claim and answer
        self._doubted: set[tuple[str, str]] = set()
        self._open: set[tuple[str, str]] = set()  # those of the latest death
        self._restored = False  # an earlier copy was put back, ever
        self._surprised = False  # the next life finds claims that the database lacks
        self._ahead = timedelta()  # how far the daemon's clock was put forward
        self.figures = Figures(worlds=1, longer=int(len(self._steps) > 1))

    def run(self) -> Figures:
        """Live and die by the plan; then rest, look, settle what is in doubt, and look again."""
        with self._sandbox, self._feeds:
            self._settle_in()
            while True:
                kill = self._plan.next(newborn=not self._picture.born, doubt=self._is_in_doubt())
                if kill is None:
                    break
                if self._picture.doubtful_posts >= MOST_DOUBTS:
                    self._calm_down()
                self._live_and_die(self._before(kill))
                self._keep_copy()
                if self._random.random() < 0.15:
                    self._settle(self._unknown_now() - {guid for guid, _ in self._open})
            self._rest()
            self._approve()
            self._settle(self._unknown_now())
            self._rest()
            self._compare(settled=True)
        return self.figures

    def _is_in_doubt(self) -> bool:
        """Whether the next start finds a POST for which not even the journal has an answer."""
        answers = self._journal.answers()
        return any(
            {outcome for _, outcome in answers.get(Paid(_title_of(guid), step), ())} <= {None}
            for guid, step in self._open
        )

    # The world

    def _settle_in(self) -> None:
        self._workspace = workspace = Workspace(self._folder, self._sandbox.url)
        workspace.set(
            API_KEY="k3y-that-nobody-may-see",
            CHECK_INTERVAL="0.2s",
            POLL_INTERVAL="0.05s",
            MAX_CONCURRENT_JOBS=50,
            MAX_SUBMISSIONS_PER_DAY=100_000,
            FLOOD_LIMIT=1000,
            FIRST_RUN="all",
            PIPELINE=self._plan.pipeline,
        )
        if self._plan.pipeline == TWO_STEPS:
            lines = (line.partition("=") for line in mediaapis_lines(self._sandbox.url))
            workspace.set(**{key.removeprefix("FEEDWATCH_"): value for key, _, value in lines})
        (self._folder / "cache").mkdir()
        self._journal = JournalFiles(
            workspace.config.with_name("config.env.claims"),
            self._folder / "cache" / "claims",
            workspace.database.with_name("feedwatch.db.claims"),
            random=self._random,
        )
        self._copies = Copies(workspace.database, self._folder / "copies", self._random)
        for feed in FEEDS:
            first = {"FIRST_RUN": "latest:1"} if feed == LATE else {}
            url = self._feeds.url_of(f"/{feed}.xml")
            workspace.add_feed(feed, url, f"podcast-{feed}", **first)
            older = BACK_CATALOGUE if feed == LATE else 1
            for count in range(older):
                self._publish(feed, skipped=feed == LATE and count < older - 1)

    def _publish(self, feed: str | None = None, *, skipped: bool = False) -> None:
        """A new episode."""
        when = None  # long ago: a back catalogue
        if feed is None:
            when = datetime.now(UTC) + self._ahead
            ready = [one for one in FEEDS if one != LATE or LATE in self._picture.baselines]
            feed = self._random.choice(ready)
        self._number += 1
        guid, url = f"guid-{self._number}", audio(self._number)
        new = Published(feed=feed, guid=guid, url=url, skipped=skipped)
        self._published[new.guid] = new
        self._items[feed].insert(0, item(self._number, when=when))
        document = self._feeds.publish(*self._items[feed], path=f"/{feed}.xml")
        guids = {one.guid for one in self._published.values() if one.feed == feed}
        self._shown[f'"{sha256(document).hexdigest()}"'] = guids  # as FeedServer has it

    def _let_the_api_be_slow(self) -> None:
        """Sometimes before the work, sometimes while it answers."""
        self._sandbox.faults.clear()
        match self._random.randrange(4):
            case 0:
                delay = self._random.uniform(0.02, 0.2)
                self._sandbox.faults.add(Fault(on="submit", kind="delay", seconds=delay, times=2))
            case 1:
                pause = self._random.uniform(0.0001, 0.0005)  # after each byte
                self._sandbox.faults.add(Fault(on="submit", kind="drip", seconds=pause, times=2))

    # Lives

    def _start(self, *verbs: list[str], trap: Trap | None = None, plain: bool = False) -> Life:
        self.figures.lives += 1
        self._log = self._folder / f"log-{self.figures.lives}"
        self._crumb = self._folder / "crumb"
        self._crumb.write_text("", encoding="utf-8")
        return self._launcher.start(
            Order(
                folder=self._folder,
                config=self._workspace.config,
                verbs=verbs or (["run"],),
                trap=trap,
                crumb=self._crumb,
                log=self._log,
                ahead=self._ahead,
                plain=plain,
            )
        )

    def _before(self, kill: Kill) -> Kill:
        """What happens to the files and the clock while no daemon lives."""
        if kill.steps_clock:
            self._ahead += timedelta(hours=self._random.uniform(0, 2))
        if kill.loses_place:
            self._journal.lose_one()
            self.figures.lost_places += 1
        if kill.restore in (Restore.ONCE, Restore.AGAIN):
            again = kill.restore is Restore.AGAIN
            if self._copies.put_back(self._journal.tokens(), again=again):
                self._note_restore()
                self._picture = self._look_at_the_dead()
        self._surprised = bool(self._journal.tokens() - self._picture.tokens)
        if kill.trap is not None and kill.trap.name in RESTORED and not self._surprised:
            return replace(kill, trap=None, delay=0.5)  # every copy has all the claims
        return kill

    def _note_restore(self) -> None:
        self.figures.restores += 1
        self._restored = True

    def _look_at_the_dead(self) -> Picture:
        return of_the_dead(self._workspace.database, self._folder / "copy", **self._happened())

    def _look(self) -> Picture:
        return of_the_living(self._workspace.database, **self._happened())

    def _happened(self) -> dict[str, bool]:
        return {"restored": self._restored, "clock_set": bool(self._ahead)}

    def _keep_copy(self) -> None:
        """Not before every feed's first run: to repeat that with later items is another one."""
        if LATE in self._picture.baselines and self._random.random() < 0.5:
            self._copies.keep(self._picture.tokens)

    def _put_over(self, life: Life) -> None:
        """Restore an earlier copy under the daemon, once it is at work."""
        until = time.monotonic() + PATIENCE
        while not self._is_up() and time.monotonic() < until:
            if self._launcher.ended(life, 0.02):
                return
        self._launcher.ended(life, self._random.uniform(0, 0.3))
        if self._copies.put_over(self._journal.tokens()):
            self._note_restore()
            self.figures.live_restores += 1
            self._surprised = True

    def _live_and_die(self, kill: Kill) -> None:
        self._let_the_api_be_slow()
        for _ in range(self._random.randint(1, 2)):
            self._publish()
        life = self._start(trap=kill.trap, plain=kill.plain)
        if kill.restore is Restore.LIVE:
            self._put_over(life)
        if kill.trap is None:
            more = self._random.uniform(0, kill.delay)
            if not self._launcher.ended(life, more):
                self._publish()
                self._launcher.ended(life, kill.delay - more)
        else:
            deadline = time.monotonic() + PATIENCE
            more = 0  # that is published meanwhile, but for a boundary that this life does not meet
            while not self._launcher.ended(life, 0.5) and time.monotonic() < deadline:
                if more == MOST_MORE:
                    break
                if self._is_up():
                    self._publish()
                    more += 1
        life.send(signal.SIGKILL)
        if not self._launcher.ended(life, PATIENCE) or life.status != -signal.SIGKILL:
            self._fail(f"the daemon ended by itself with {life.status}", kill)
        self._count(kill)
        self._inspect(kill)

    def _count(self, kill: Kill) -> None:
        crumb = Crumb.read(self._crumb)
        self.figures.kills += 1
        if crumb is not None and kill.trap is not None:
            self.figures.boundaries[f"{kill.trap.name}, {kill.trap.side}"] += 1
        elif kill.trap is not None:
            self.figures.missed[f"{kill.trap.name}, {kill.trap.side}"] += 1
        elif kill.plain:
            self.figures.plain += 1
        else:
            self.figures.moments += 1

    def _inspect(self, kill: Kill) -> None:
        """What must hold after any death."""
        before = self._picture
        now = self._look_at_the_dead()
        self._picture = now
        self._look_for_complaints(kill)
        self._look_for_repetitions(kill)
        if now.wrong:
            self._fail("; ".join(now.wrong), kill)
        self._look_for_lost_intents(now, kill)
        self._look_for_early_validators(now, kill)
        under_way = now.steps_in_state("submitting")
        fresh = {
            guid
            for guid, _ in under_way
            if guid not in before.rows or before.rows[guid].version != now.rows[guid].version
        }
        crumb = Crumb.read(self._crumb)
        watched = crumb is not None and crumb.submitter and kill.restore is not Restore.LIVE
        if crumb is not None and watched and len(fresh) != crumb.doubt:
            claimed = "after a claim and before its answer" if crumb.doubt else "beside any POST"
            self._fail(f"killed {claimed}, but {len(fresh)} episodes are submitting", kill)
        self._open = under_way
        self._doubted |= under_way
        self._check_unknown(now, kill)

    def _look_for_lost_intents(self, now: Picture, kill: Kill | None) -> None:
        """Whatever was sent was written down before: in the journal, and in the database unless
        that is an earlier copy which has not met the claim yet.
        """
        rows = {_title_of(guid): row for guid, row in now.rows.items()}
        answers = self._journal.answers()
        for post in posts(self._sandbox):
            title, step = post.what
            what = f"{title} was sent to be given {step}"
            tokens = {token for token, _ in answers.get(post.what, ())}
            row = rows.get(title)
            if not tokens:
                self._fail(f"{what}, but that is not in the journal", kill)
            elif not self._restored and tokens - now.tokens:
                self._fail(f"{what}, but that is not in the ledger", kill)
            elif tokens - now.tokens:
                continue  # an earlier copy, which has not met the claim yet
            elif row is None and not self._restored:
                self._fail(f"{what}, but is not in the database", kill)
            elif row and not (row.is_after(step) or (row.step == step and row.state in AT_THE_API)):
                self._fail(f"{what}, but is {row.state} at {row.step} ({row.reason})", kill)

    def _look_for_repetitions(self, kill: Kill | None = None) -> None:
        """What was taken, or may have been, is never sent again: a person asks for nothing such."""
        sent = Counter(post.what for post in posts(self._sandbox))
        twice = [f"{title} for {step}" for (title, step), times in sent.items() if times > 1]
        self.figures.sent_twice = len(twice)
        if twice:
            self._fail(f"sent twice: {', '.join(twice)}", kill)

    def _look_for_complaints(self, kill: Kill | None) -> None:
        """To be killed is no error; after it all is as usual. A restore is told."""
        log = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        signs = ("Traceback", " ERROR ", " CRITICAL ", "no journal has it")
        for sign in signs[::3] if self._surprised else signs:
            if sign in log:
                self._fail(f"the log has {sign.strip()}: {log[log.index(sign) :][:400]}", kill)

    def _look_for_early_validators(self, now: Picture, kill: Kill) -> None:
        """A document that will not be asked for again has been taken in."""
        for etag in now.validators:
            if missing := self._shown[etag] - now.rows.keys():
                self._fail(f"the feed will answer 304, but {sorted(missing)} are nowhere", kill)

    def _check_unknown(self, now: Picture, kill: Kill | None) -> None:
        for guid, step in now.steps_in_state("unknown"):
            if (guid, step) not in self._doubted and not self._restored:
                self._fail(f"{guid} is unknown, but no kill fell into its POST for {step}", kill)
            if not now.rows[guid].reason:
                self._fail(f"{guid} is unknown without a reason", kill)

    def _look_for_forgotten_answers(self) -> None:
        """In doubt is only what the journal has no answer for, and at no step but its furthest."""
        answers = self._journal.answers()
        for guid, row in self._picture.rows.items():
            claims = answers.get(Paid(_title_of(guid), row.step), set())
            at = f"{guid} is {row.state} at {row.step} ({row.reason})"
            if row.state == "unknown" and "accepted" in {outcome for _, outcome in claims}:
                self._fail(f"{at}, but the journal has its answer: {claims}")
            for step in ORDER:
                if not (row.is_after(step) or row.step == step) and (
                    further := answers.get(Paid(_title_of(guid), step))
                ):
                    self._fail(f"{at}, but the journal has claims for {step}: {further}")

    # Peace

    def _calm_down(self) -> None:
        """Live in peace until a clear answer has opened the gate for good."""
        self._sandbox.faults.clear()
        self._publish()
        self._in_peace(self._is_taken_in, "it does not take everything in")
        self._approve()
        self._in_peace(lambda picture: picture.doubtful_posts == 0, "the gate does not open")

    def _rest(self) -> None:
        """Live in peace until nothing moves any more; then look at everything."""
        self._sandbox.faults.clear()
        self._in_peace(self._is_at_rest, "it does not come to rest")
        self._compare(settled=False)

    def _approve(self) -> None:
        """As a person would who has looked: what is held was not submitted, or the journal knew."""
        held = self._picture.in_state("held")
        feeds = sorted({self._published[guid].feed for guid in held})
        if feeds:
            self._decide(*(["approve", "--feed", feed, "--yes"] for feed in feeds))

    def _in_peace(self, reached: Callable[[Picture], bool], complaint: str) -> None:
        self._surprised = bool(self._journal.tokens() - self._picture.tokens)
        life = self._start()
        until = time.monotonic() + PATIENCE
        while not (self._is_up() and reached(self._look())):
            if self._launcher.ended(life, 0.1):
                self._fail(f"the daemon ended by itself with {life.status}")
            if time.monotonic() > until:
                self._picture = self._look()
                self._fail(f"{complaint}: {self._what_is_lost()}")
        life.send(signal.SIGTERM)
        if not self._launcher.ended(life, PATIENCE) or life.status != 0:
            self._fail(f"SIGTERM ended it with {life.status}")
        crumb = Crumb.read(self._crumb)
        self.figures.crossed |= set(crumb.crossed or {}) if crumb is not None else set()
        self._picture = self._look()
        self._open = set()
        self._look_for_complaints(None)
        if self._picture.wrong:
            self._fail("; ".join(self._picture.wrong))
        self._check_unknown(self._picture, None)
        self._look_for_forgotten_answers()

    def _is_up(self) -> bool:
        """Whether it heeds signals by now."""
        return self._log.exists() and b"watching" in self._log.read_bytes()

    def _is_taken_in(self, picture: Picture) -> bool:
        return self._published.keys() <= picture.rows.keys() and not picture.unchecked

    def _is_at_rest(self, picture: Picture) -> bool:
        return self._is_taken_in(picture) and not picture.in_state(
            "queued", "submitting", "processing"
        )

    def _settle(self, guids: set[str]) -> None:
        """As a person would: what the API has is adopted, the rest is submitted again."""
        wait_for(self._has_the_api_done_its_work, what="the work on what the dead have sent")
        jobs = {post.what: post.job for post in self._taken()}
        taken: list[tuple[Row, str]] = []
        not_taken: list[Row] = []
        for guid in sorted(guids):
            row = self._picture.rows[guid]
            job = jobs.get(Paid(_title_of(guid), row.step))
            if job is not None:
                taken.append((row, job))
            else:
                not_taken.append(row)
        self.figures.unknown_taken.update(row.step for row, _ in taken)
        self.figures.unknown_not_taken.update(row.step for row in not_taken)
        verbs = [["adopt", str(row.id), job] for row, job in taken]
        if not_taken:
            verbs.append(["retry", "--yes", *(str(row.id) for row in not_taken)])
        if verbs:
            self._decide(*verbs)
        # What is submitted again is in doubt no more, unless another kill says so.
        self._doubted -= {(row.guid, row.step) for row in not_taken}

    def _decide(self, *verbs: list[str]) -> None:
        life = self._start(*verbs)
        self.figures.lives -= 1
        if not self._launcher.ended(life, PATIENCE) or life.status != 0:
            self._fail(f"{verbs} ended with {life.status}")
        self._picture = self._look()

    def _has_the_api_done_its_work(self) -> bool:
        """A request may still be worked on though its sender is dead."""
        return all(post.is_answered for post in posts(self._sandbox))

    # What came of it

    def _compare(self, *, settled: bool) -> None:
        """The feeds with the API, through the database."""
        self._look_for_repetitions()
        rows, jobs = self._picture.rows, self._sandbox.jobs
        if lost := self._what_is_lost():
            self._fail(f"lost: {lost}")
        if odd := rows.keys() - self._published.keys():
            self._fail(f"nobody published {sorted(odd)}")
        wanted = {
            Paid(_title_of(one.guid), step)
            for one in self._published.values()
            if not one.skipped
            for step in self._steps
        }
        taken = {post.what: post for post in self._taken()}
        if taken.keys() - wanted:
            self._fail(f"submitted, though not to be: {sorted(taken.keys() - wanted)}")
        for what, post in taken.items():
            if post.given not in self._inputs(what, taken):
                self._fail(f"{what} was given {post.given}")
        for guid in self._picture.in_state("ready"):
            row = rows[guid]
            job = jobs.get(row.media_id or "", {})
            if (job.get("name"), job.get("url")) != (_title_of(guid), row.processed_url):
                self._fail(f"{guid} is ready, but its media id {row.media_id} is {job}")
        if settled:
            if taken.keys() != wanted or self._picture.in_state("unknown", "held"):
                self._fail("all is settled, but not everything was submitted once")
            self.figures.published = len(self._published)
            self.figures.submissions.update(post.what.step for post in posts(self._sandbox))
            self.figures.taken.update(what.step for what in taken)

    def _inputs(self, what: Paid, taken: Mapping[Paid, Post]) -> set[str | None]:
        """What a step may be given: the file that the one before has made, and the episode's own.

        The latter only at the first step, or where a restore has lost the other.
        """
        own = audio(int(what.title.removeprefix("Episode ")))
        before = self._steps[: self._steps.index(what.step)]
        made = {post.made for step in before if (post := taken.get(Paid(what.title, step)))}
        return made | ({own} if self._restored or not before else set())

    def _what_is_lost(self) -> str:
        """Published, and neither come to its end nor, for a reason, in doubt."""
        lost = []
        for one in self._published.values():
            row = self._picture.rows.get(one.guid)
            good = {"skipped"} if one.skipped else {"ready", "unknown"}
            if self._restored and not one.skipped:
                good.add("held")
            if row is None or row.state not in good:
                at = f"{row.state} at {row.step} ({row.reason})" if row else "nowhere"
                lost.append(f"{one.guid} is {at}")
        self.figures.lost = len(lost)
        return ", ".join(lost)

    def _unknown_now(self) -> set[str]:
        return self._picture.in_state("unknown")

    def _taken(self) -> list[Post]:
        return [post for post in posts(self._sandbox) if post.job is not None]

    def _fail(self, what: str, kill: Kill | None = None) -> None:
        raise Violation(
            f"{self._place}, life {self.figures.lives}"
            + (f", {kill}" if kill is not None else "")
            + f": {what}"
        )


def _title_of(guid: str) -> str:
    return guid.replace("guid-", "Episode ")
