"""What `doctor` finds about a PostgreSQL server: what a failover would lose, and its clock."""

from collections.abc import Iterator, Sequence

from feedwatch.core.daemons import OFFSET_WRONG
from feedwatch.core.status import Finding
from feedwatch.store.replication import Replication, Standby

CLOCK, REPLICATION = "clock and database", "replication"
OFFSET_TOLD = 2.0  # seconds
SYNCHRONOUS = ("on", "remote_apply")  # those of `synchronous_commit` that feedwatch leaves alone


def postgresql_findings(server: Replication | None) -> Iterator[Finding]:
    """What there is to say of a server; of SQLite, which has none, nothing."""
    if server is None:
        return
    yield from _replication(server)
    yield _clock(server.clock_offset)


def _replication(server: Replication) -> Iterator[Finding]:
    """Whether commits outlive the server, and what becomes of them where they do not."""
    names = server.synchronous_standby_names
    synchronous = [one for one in server.standbys if one.is_synchronous]
    others = [one for one in server.standbys if not one.is_synchronous]
    hidden = [one for one in server.standbys if one.kind is None]
    if server.in_recovery:
        yield Finding(
            REPLICATION,
            "this server is a standby, in recovery: nothing can be written to it",
            "name the primary in FEEDWATCH_DATABASE_URL; of several hosts, "
            "target_session_attrs=read-write takes it",
        )
    elif names and hidden:
        yield Finding(
            REPLICATION,
            f"commits wait for {names}; this user may not see whether {_named(hidden)} is such a "
            "standby",
            "GRANT pg_read_all_stats to it, to have that checked",
            may_stay=True,
        )
    elif names and not synchronous:
        yield Finding(
            REPLICATION,
            f"commits wait for {names}, and no such standby is connected: nothing is written, and "
            "nothing submitted",
            "start that standby; or take it out of synchronous_standby_names, which lets a "
            "failover lose commits",
        )
    elif names:
        found = f"commits wait for {_named(synchronous)}"
        if server.synchronous_commit not in SYNCHRONOUS:
            found += f", but for this user's synchronous_commit={server.synchronous_commit}, "
            found += "which feedwatch overrules"
        if others:
            found += f"; promote none of {_named(others)}, which may lack the last ones"
        yield Finding(REPLICATION, found)
    elif others:
        yield from _asynchronous(others)
    else:
        yield Finding(
            REPLICATION,
            "no standby is connected: if the server's disk is lost, there are its backup and the "
            "journals",
        )


def _asynchronous(standbys: Sequence[Standby]) -> Iterator[Finding]:
    """What it risks to promote a standby that no commit waits for, in a line each."""
    yield Finding(
        REPLICATION,
        f"{_named(standbys)}: asynchronous; one that is promoted may lack the last commits",
        "set synchronous_standby_names on the server, such as 'ANY 1 (a, b)'; see docs/cluster.md",
        may_stay=True,
    )
    yield Finding(
        f"{REPLICATION}, what the journals save",
        "payments: a daemon compares its journal with the database before it submits again; lost "
        "jobs are polled on, lost doubts are unknown",
    )
    yield Finding(
        f"{REPLICATION}, what they do not save",
        "what people decided (what was skipped may be queued again), what was told, and payments "
        "that only the journal of a lost machine has: these may be paid twice",
    )


def _named(standbys: Sequence[Standby]) -> str:
    return ", ".join(one.name or "a standby without a name" for one in standbys)


def _clock(offset: float) -> Finding:
    """Our clock against the database's, by which all daemons go."""
    found = f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} the database's"
    if abs(offset) <= OFFSET_TOLD:
        return Finding(CLOCK, found)
    mend = (
        "set this machine's clock, or the database's, by NTP for example: daemons go by the "
        "database's, certificates and signed events by this one's"
    )
    return Finding(CLOCK, found, mend, may_stay=abs(offset) <= OFFSET_WRONG)
