"""What must hold of a fleet, at every look and at the end."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.cluster.audit import audited_claims
from tests.cluster.fleet import SOON, Fleet, Violation, takeover_limit
from tests.crash.posts import posts, title_of
from tests.support import audio

DOUBTED_WITHIN = 12.0  # seconds after a claim in which its POST was under way, or its answer read


def look(fleet: Fleet) -> None:
    """What must hold at any time."""
    sent = Counter(post.what for post in posts(fleet.sandbox))
    if twice := [what.title for what, times in sent.items() if times > 1]:
        fleet.fail(f"sent twice: {twice}")
    claims = audited_claims(fleet.server, fleet.database)
    for claim in claims:
        if claim.term != claim.leader_term or claim.holder is None:
            fleet.fail(f"a deposed leader has committed a claim: {claim}")
    for before, after in pairwise(claims):
        if after.term < before.term:
            fleet.fail(f"a claim of an older term came later: {before}, {after}")
    for one in fleet.daemons:
        log = one.logged()
        if "Traceback" in log:
            fleet.fail(f"{one.name} has a traceback: {log[log.index('Traceback') :][:1500]}")


def at_the_end(fleet: Fleet) -> None:
    """What must hold once all is settled."""
    look(fleet)
    rows, jobs = fleet.rows(), fleet.sandbox.jobs
    taken = {post.what.title: post for post in posts(fleet.sandbox) if post.job is not None}
    for guid in fleet.published:
        row = rows.get(guid)
        title = title_of(audio(int(guid.removeprefix("guid-"))))
        if row is None or row.state != "ready":
            fleet.fail(f"lost: {guid} is {row}")
        if title not in taken or row.media_id != taken[title].job:
            fleet.fail(f"{guid} is ready by the job {row.media_id}, but was taken as {taken}")
        if row.processed_url != jobs[row.media_id or ""]["url"]:
            fleet.fail(f"{guid} is ready, but its file is {row.processed_url}")
    if len(rows) != len(fleet.published):
        fleet.fail(f"nobody published {sorted(rows.keys() - fleet.published.keys())}")
    for wrong in (*_wrong_doubts(fleet), *_wrong_events(fleet)):
        fleet.fail(wrong)


def _wrong_doubts(fleet: Fleet) -> Iterator[str]:
    """An `unknown` is the claim of a daemon that was killed, stopped or cut off meanwhile."""
    query = (
        "select e.guid, extract(epoch from h.at)::float, extract(epoch from c.at)::float, c.term"
        " from history h join episodes e on e.id = h.episode_id"
        " join claims c on c.episode_id = e.id and c.at <= h.at"
        " where h.state = 'unknown' and h.previous = 'submitting' and c.number ="
        " (select max(number) from claims d where d.episode_id = e.id and d.at <= h.at)"
    )
    holders = {one.term: one.holder for one in fleet.elections() if one.holder is not None}
    found = fleet.server.execute(query, fleet.database)
    for guid, at, claimed, term in found:
        daemon = fleet.named(holders.get(term))
        if not any(
            daemon is not None
            and one.daemon == daemon.name
            and one.began <= claimed + DOUBTED_WITHIN
            and one.ended >= claimed - 0.1
            for one in fleet.disturbances
        ):
            yield f"{guid} was unknown at {at}, but nothing befell {daemon} since {claimed}"
    if len(found) > len(fleet.disturbances):
        yield f"{len(found)} doubts of {len(fleet.disturbances)} disturbances"


def _wrong_events(fleet: Fleet) -> Iterator[str]:
    """Each is told once, or again if a daemon died before it knew that it was told."""

    def untold() -> set[str]:
        events = [one for one in fleet.receiver.events if one.type == "episode.ready"]
        return fleet.published.keys() - {one.data["episode"]["guid"] for one in events}

    try:
        fleet.until(lambda: not untold(), "not every end is told", SOON)
    except Violation as violation:
        rows = fleet.server.execute("select * from outbox order by id", fleet.database)
        raise Violation(f"{violation}: {untold()}; the outbox has {rows}") from violation
    times = Counter(one.id for one in fleet.receiver.events)
    again = sum(number - 1 for number in times.values())
    if again > 2 * len(fleet.disturbances):
        yield f"{again} events were told again after {len(fleet.disturbances)} disturbances"


def jobs_at_once(fleet: Fleet, seconds: float) -> int:
    """The most jobs that the API had at once, each of so many seconds."""
    began = sorted(one.time for one in fleet.sandbox.submissions if one.media_id is not None)
    return max((sum(start <= at < start + seconds for start in began) for at in began), default=0)


def takeovers(fleet: Fleet, left: list[float]) -> list[float]:
    """Seconds from each of these moments, at which a leader was lost, to the next election."""
    elected = [one.at for one in fleet.elections() if one.holder is not None]
    found = []
    for moment in left:
        after = [at - moment for at in elected if at > moment]
        if not after or min(after) > takeover_limit():
            fleet.fail(f"no takeover for {min(after, default=0):.1f} s after {moment}")
        found.append(min(after))
    return found
