"""One thing at a time: partitions, failovers, starts at once, limits, polls."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGSTOP

from feedwatch.sandbox.faults import Fault
from tests.cluster import audit, rules
from tests.cluster.fleet import FEEDS, SOON, Daemon, Fleet, Violation, takeover_limit
from tests.cluster.life import TTL
from tests.cluster.proxy import Proxy
from tests.cluster.servers import Primary, Standby, primary, standby_of
from tests.crash.boundaries import Side, Trap
from tests.crash.launcher import Launcher
from tests.crash.posts import posts
from tests.databases import PASSWORD, TEMPLATE, USER

NOTICED_WITHIN = 20.0  # seconds, of a line that is cut without a word
TOLD_WITHIN = 10.0  # seconds, of claims that a failover has lost
# The defaults are 10 to 25 s.
IMPATIENT = "tcp_user_timeout=3000&keepalives_idle=1&keepalives_interval=1&keepalives_count=2"
STATUSES = ["AD_BREAK_QUEUED", "AD_BREAK_PROCESSING", "PUBLISHING", "READY"]  # a poll each
Where = tuple[str, Side]
# The claim's first statement that writes, and the line in the journal that follows its commit.
CLAIMING: Where = ("claim/statement", "after")
CLAIMED: Where = ("append claim", "before")
ANSWERED: Where = ("submit", "after")
AT_THE_CLAIM: tuple[Where, ...] = (
    ("claim/statement", "before"),
    CLAIMING,
    ("claim/commit", "before"),
)
BEFORE_THE_POST: tuple[Where, ...] = (CLAIMED, ("append claim", "after"), ("submit", "before"))
AT_A_PARTITION = (CLAIMING, CLAIMED, ANSWERED)
AT_A_FAILOVER = (CLAIMED, ANSWERED)


@contextmanager
def _fleet(folder: Path, launcher: Launcher, seed: int) -> Iterator[Fleet]:
    """Three daemons on a database of their own, all of which live."""
    with primary() as server:
        _create(server, "fleet")
        with Fleet(folder, launcher, server, "fleet", Random(seed)) as fleet:
            fleet.start()
            fleet.a_leader()
            yield fleet


def _create(server: Primary, name: str) -> None:
    server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    audit.install(server, name)


def _conclude(fleet: Fleet) -> None:
    fleet.rest()
    rules.at_the_end(fleet)
    fleet.end()
    rules.look(fleet)


def _stop_at(fleet: Fleet, where: Where) -> Daemon:
    """Have the leader stop itself at a boundary; which of the daemons it is."""
    name, side = where
    for _ in range(5):
        leader = fleet.a_leader()
        fleet.publish()
        if fleet.trap(leader, Trap(name=name, side=side, nth=1, signal=SIGSTOP), 10):
            fleet.freeze(leader)
            return leader
    raise Violation(f"no leader comes to {where}")


# Starts


def starts(folder: Path, launcher: Launcher, seed: int) -> None:
    """Three starts at once on an empty database: all three run, and one of them leads."""
    for number in range(3):
        name = f"starts{number}"
        with (
            primary() as server,
            Fleet(folder / name, launcher, server, name, Random(seed)) as fleet,
        ):
            server.execute(f"CREATE DATABASE {name}")
            fleet.start()
            fleet.until(
                partial(_are_up, fleet),
                "not all of them start",
            )
            fleet.a_leader()
            audit.install(server, name)
            _conclude(fleet)


# A leader that is stopped


def stopped_in_the_claim(folder: Path, launcher: Launcher, seed: int) -> None:
    """Who was stopped in the transaction of a claim keeps nobody from being elected for long.

    Nor does it commit that claim, once another one leads.
    """
    with _fleet(folder, launcher, seed) as fleet:
        for where in AT_THE_CLAIM:
            leader = _stop_at(fleet, where)
            fleet.a_leader(leader, within=takeover_limit())
            fleet.thaw(leader)
            fleet.until(lambda: _is_taken_in(fleet), "not all is submitted")
            rules.look(fleet)
        _conclude(fleet)


def stopped_before_the_post(folder: Path, launcher: Launcher, seed: int) -> None:
    """Who was stopped between claim and POST does not send what a person has had sent again."""
    with _fleet(folder, launcher, seed) as fleet:
        for where in BEFORE_THE_POST:
            leader = _stop_at(fleet, where)
            fleet.a_leader(leader, within=takeover_limit())
            (guid,) = fleet.until(lambda: fleet.in_state("unknown"), "no doubt is told")
            row = fleet.rows()[guid]
            fleet.decide(["retry", "--yes", str(row.id)])
            fleet.until(partial(_is_ready, fleet, guid), "it is not sent again")
            fleet.thaw(leader)
            fleet.publish()
            fleet.until(lambda: _is_taken_in(fleet), "not all is submitted")
            time.sleep(2 * TTL)  # what should not come may take so long
            rules.look(fleet)
        _conclude(fleet)


def _are_up(fleet: Fleet) -> bool:
    return all("ready after" in one.logged() for one in fleet.daemons)


def _is_ready(fleet: Fleet, guid: str) -> bool:
    return guid in fleet.in_state("ready")


def _are_all_ready(fleet: Fleet) -> bool:
    return len(fleet.in_state("ready")) == len(fleet.published)


def _has_claims(fleet: Fleet, tokens: set[str]) -> bool:
    return tokens <= _claims(fleet)


def _is_taken_in(fleet: Fleet) -> bool:
    rows = fleet.rows()
    return fleet.published.keys() <= rows.keys() and not any(
        row.state in ("queued", "submitting") for row in rows.values()
    )


# Partitions


@contextmanager
def _proxied(
    folder: Path, launcher: Launcher, server: Primary, name: str, seed: int
) -> Iterator[tuple[Fleet, dict[str, Proxy]]]:
    """Three daemons, each with a line of its own to the database."""
    with ExitStack() as stack:
        lines = {one: stack.enter_context(Proxy(server.port)) for one in "abc"}
        urls = [
            f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{line.port}/{name}?{IMPATIENT}"
            for line in lines.values()
        ]
        fleet = Fleet(folder, launcher, server, name, Random(seed), urls=urls)
        stack.enter_context(fleet)
        fleet.start()
        fleet.a_leader()
        yield fleet, lines


def partitions(folder: Path, launcher: Launcher, seed: int) -> None:
    """A leader that is cut off notices it, and sends nothing once its lease has ended."""
    ways: Mapping[str, Callable[[Proxy], object]] = {
        "frozen": Proxy.freeze,
        "mute": Proxy.mute,
        "refused": Proxy.refuse,
    }
    with primary() as server:
        _create(server, "partitions")
        with _proxied(folder, launcher, server, "partitions", seed) as (fleet, lines):
            for way, sever in ways.items():
                for where in AT_A_PARTITION:
                    _partition(fleet, lines, sever, way, where)
            _conclude(fleet)


def _partition(
    fleet: Fleet,
    lines: Mapping[str, Proxy],
    sever: Callable[[Proxy], object],
    way: str,
    where: Where,
) -> None:
    leader = _stop_at(fleet, where)
    line, said = lines[leader.name], len(leader.logged())
    sever(line)
    cut = time.time()
    fleet.thaw(leader)
    disturbance = fleet.disturb(leader, way)
    if way != "mute":  # of which TCP knows nothing
        fleet.until(
            lambda: "does not work" in leader.logged()[said:],
            f"{leader.name} does not notice that it is {way} at {where}",
            NOTICED_WITHIN,
        )
    fleet.a_leader(leader, within=takeover_limit())
    fleet.publish()
    fleet.until(lambda: _is_taken_in_but_for(fleet, leader), "the others do not go on")
    line.heal()
    disturbance.ended = time.time() + 1
    _look_for_late_posts(fleet, leader, cut)
    fleet.until(lambda: _is_taken_in(fleet), f"all stands still after it was {way} at {where}")
    rules.look(fleet)


def _is_taken_in_but_for(fleet: Fleet, leader: Daemon) -> bool:
    """Whether what was published since is with the API; a feed may be the cut daemon's to check."""
    return leader is not fleet.leader() and not fleet.in_state("queued", "submitting")


def _look_for_late_posts(fleet: Fleet, leader: Daemon, cut: float) -> None:
    """No claim of a cut daemon's term was sent after its lease's end."""
    terms = {one.term for one in fleet.elections() if fleet.named(one.holder) is leader}
    query = "select title, max(term) from claims group by title"
    last = dict(fleet.server.execute(query, fleet.database))
    for one in fleet.sandbox.submissions:
        late = one.time - cut
        if isinstance(one.body, dict) and late > TTL and last[one.body["name"]] in terms:
            fleet.fail(f"{leader.name}, cut off, has sent {one.body['name']} {late:.1f} s later")


# Failover


def synchronous_failover(folder: Path, launcher: Launcher, seed: int) -> None:
    """A standby that has confirmed each commit takes over: nothing is sent twice."""
    for number, where in enumerate(AT_A_FAILOVER):
        with (
            primary() as server,
            _standby(server, f"sync{number}") as standby,
            _proxied(folder / str(number), launcher, server, f"sync{number}", seed) as (fleet, to),
        ):
            server.require_standby()
            fleet.publish(3)
            leader = _stop_at(fleet, where)
            _fail_over(fleet, to, server, standby)
            fleet.thaw(leader)
            _conclude(fleet)


def unconfirmed_claims(folder: Path, launcher: Launcher, seed: int) -> None:
    """While no standby confirms commits nothing is sent."""
    with (
        primary() as server,
        _standby(server, "unconfirmed") as standby,
        _proxied(folder, launcher, server, "unconfirmed", seed) as (fleet, lines),
    ):
        server.require_standby()
        fleet.until(lambda: _is_taken_in(fleet), "not all is submitted")
        standby.hold_back()
        fleet.publish(3)
        sent = len(fleet.sandbox.submissions)
        for one in fleet.daemons:
            fleet.disturb(one, "unconfirmed").ended += 60
        time.sleep(4 * TTL)
        if (late := len(fleet.sandbox.submissions) - sent) > 0:
            fleet.fail(f"{late} claims were sent that no standby had confirmed")
        _fail_over(fleet, lines, server, standby)
        _conclude(fleet)


def asynchronous_failover(folder: Path, launcher: Launcher, seed: int) -> None:
    """A standby that lacks the last claims takes over: the journal of who made them has them."""
    for number, where in enumerate(AT_A_FAILOVER):
        _lose_claims(folder / str(number), launcher, seed, where, to_another=False)


def asynchronous_failover_to_another(folder: Path, launcher: Launcher, seed: int) -> None:
    """The same, and by then another one leads: it waits for the journals of the others."""
    for number, where in enumerate(AT_A_FAILOVER):
        _lose_claims(folder / str(number), launcher, seed, where, to_another=True)


def _lose_claims(
    folder: Path, launcher: Launcher, seed: int, where: Where, *, to_another: bool
) -> None:
    name = f"async{folder.name}"
    with (
        primary() as server,
        _standby(server, name) as standby,
        _proxied(folder, launcher, server, name, seed) as (fleet, lines),
    ):
        fleet.until(partial(_is_taken_in, fleet), "not all is submitted")
        standby.hold_back()
        fleet.publish(3)
        fleet.until(partial(_is_taken_in, fleet), "not all is submitted")
        leader = _stop_at(fleet, where)
        claimed = _claims(fleet)
        _fail_over(fleet, lines, server, standby)
        lost = claimed - _claims(fleet)
        if not lost:
            fleet.fail(f"no claim was lost at {where}: the scenario shows nothing")
        if to_another:
            fleet.a_leader(leader, within=takeover_limit())
        fleet.thaw(leader)
        back = time.monotonic()
        fleet.until(
            partial(_has_claims, fleet, lost),
            f"of the claims that were lost at {where}, some are not told",
            TOLD_WITHIN,
        )
        told = time.monotonic() - back
        rules.look(fleet)
        _conclude(fleet)
        print(f"{where}: {len(lost)} claims lost, told {told:.1f} s after")  # noqa: T201


def _claims(fleet: Fleet) -> set[str]:
    return {row[0] for row in fleet.server.execute("select token from claims", fleet.database)}


@contextmanager
def _standby(server: Primary, name: str) -> Iterator[Standby]:
    _create(server, name)
    with standby_of(server) as standby:
        yield standby


def _fail_over(fleet: Fleet, lines: Mapping[str, Proxy], server: Primary, standby: Standby) -> None:
    """Kill the primary, and have everybody meet the standby in its place."""
    for one in fleet.daemons:
        fleet.disturb(one, "failover").ended += 30
    server.kill()
    standby.promote()
    fleet.server = standby
    for line in lines.values():
        line.lead_to(standby.port)


# Figures


def limits(folder: Path, launcher: Launcher, seed: int) -> None:
    """However often leaders die, the API never sees more than the limits allow."""
    most, at_once, seconds = 14, 2, 0.5
    keys = {"MAX_SUBMISSIONS_PER_DAY": most, "MAX_CONCURRENT_JOBS": at_once}
    with primary() as server:
        _create(server, "limits")
        random = Random(seed)
        with Fleet(
            folder, launcher, server, "limits", random, job_seconds=seconds, keys=keys
        ) as fleet:
            fleet.start()
            fleet.publish(14)
            for _ in range(4):
                leader = fleet.a_leader(within=takeover_limit())
                time.sleep(fleet.random.uniform(0.3, 1.2))
                fleet.kill(leader)
                fleet.start(leader)
            sent = "select count(*) from claims where sent"
            fleet.until(
                lambda: fleet.server.execute(sent, fleet.database)[0][0] >= most,
                "the limit is not reached",
            )
            time.sleep(2 * TTL)  # what should not come may take so long
            rules.look(fleet)
            claimed, received = (
                fleet.server.execute(sent, fleet.database)[0][0],
                posts(fleet.sandbox),
            )
            if claimed > most or len(list(received)) > most:
                fleet.fail(f"{claimed} claims in a day, and {most} are allowed")
            doubts = len(fleet.in_state("unknown"))  # whose jobs are not known to be there
            if (seen := rules.jobs_at_once(fleet, seconds)) > at_once + doubts:
                fleet.fail(f"{seen} jobs at once, of which {doubts} in doubt")


def polls(folder: Path, launcher: Launcher, seed: int) -> None:
    """Three daemons poll, check and tell no more than one does."""
    counted: dict[int, tuple[float, float]] = {}
    for daemons in (1, 3):
        name = f"polls{daemons}"
        with primary() as server:
            _create(server, name)
            fleet = Fleet(folder / name, launcher, server, name, Random(seed), daemons=daemons)
            script = Fault(on="submit", kind="job_status", statuses=STATUSES, times=None)
            with fleet:
                fleet.sandbox.faults.add(script)
                fleet.start()
                began = time.monotonic()
                for _ in range(24):
                    fleet.publish()
                    time.sleep(0.25)
                fleet.until(
                    partial(_are_all_ready, fleet),
                    "not all is ready",
                    3 * SOON,
                )
                each = sum(map(len, fleet.sandbox.polls.values())) / len(fleet.published)
                checks = fleet.checks() / (time.monotonic() - began) / len(FEEDS)
                counted[daemons] = each, checks
                rules.at_the_end(fleet)
                ids = [one.id for one in fleet.receiver.events]
                if len(ids) > len(set(ids)):
                    fleet.fail("an event was told twice, and nobody was killed")
                fleet.end()
    (one, one_checks), (three, three_checks) = counted[1], counted[3]
    print(  # noqa: T201
        f"polls of a job: {one:.2f} and {three:.2f}; "
        f"checks of a feed a second: {one_checks:.2f} and {three_checks:.2f}"
    )
    if three > 1.05 * one or three_checks > 1.1:  # their interval is a second
        fleet.fail("three daemons ask more than one does")


ALL: Mapping[str, Callable[[Path, Launcher, int], None]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        starts,
        stopped_in_the_claim,
        stopped_before_the_post,
        partitions,
        synchronous_failover,
        unconfirmed_claims,
        asynchronous_failover,
        asynchronous_failover_to_another,
        limits,
        polls,
    )
}
