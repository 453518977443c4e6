"""Daemons die and freeze, at random and at named moments, and others take over."""

import time
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGSTOP
from statistics import median
from typing import Any, Self

from tests.cluster import audit, rules
from tests.cluster.fleet import Daemon, Fleet, takeover_limit
from tests.cluster.life import TTL, disarm, set_trap
from tests.crash.boundaries import SIDES, Trap
from tests.crash.launcher import Launcher
from tests.crash.posts import posts
from tests.databases import TEMPLATE, Server

LEADERS = {  # steps of the leader alone, and after the word the highest `nth`
    "claim": 2,
    "claim/statement": 3,
    "claim/commit": 2,
    "append claim": 2,
    "submit": 2,
    "submit/send": 3,
    "submit/receive": 2,
    "append outcome": 2,
    "settle answer": 2,
    "settle answer/statement": 3,
    "settle answer/commit": 2,
    "change_gate/commit": 2,
    "poll": 3,
    "save poll/commit": 3,
    "renew/commit": 2,
}
EVERYBODYS = {
    "fetch": 2,
    "record_check/statement": 3,
    "record_check/commit": 2,
    "record_unchanged/commit": 2,
    "beat/commit": 2,
}
KILL, STOP, END, HEIR = "kill", "stop", "end", "heir"


@dataclass(kw_only=True)
class Figures:
    """Of one world, or of many."""

    moments: int = 0
    kills: int = 0
    stops: int = 0
    ends: int = 0  # by SIGTERM
    of_leaders: int = 0
    named: Counter[str] = field(default_factory=Counter)  # boundaries
    missed: int = 0  # traps that did not close in time
    published: int = 0
    submissions: int = 0
    taken: int = 0
    doubts: int = 0
    told_again: int = 0  # events
    terms: int = 0
    after_kills: list[float] = field(default_factory=list)  # seconds without a leader
    after_ends: list[float] = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Count another world in."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The way back from `vars`."""
        return cls(**values | {"named": Counter(values["named"])})

    def summary(self) -> str:
        """Some lines."""
        return (
            f"{self.moments} moments: {self.kills} kills, {self.stops} stops, {self.ends} SIGTERM, "
            f"{self.of_leaders} of them at the leader; {self.named.total()} at a boundary, "
            f"{self.missed} boundaries missed\n"
            f"{self.published} episodes published, {self.submissions} submissions received, "
            f"{self.taken} taken; 0 twice, 0 lost; {self.doubts} unknown, "
            f"{self.told_again} events told again; {self.terms} terms\n"
            f"takeover after kills: {_spread(self.after_kills)}; "
            f"after SIGTERM: {_spread(self.after_ends)}"
        )


def _is_ready(daemon: Daemon) -> bool:
    return "ready after" in daemon.latest()


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return f"median {median(seconds):.2f} s, at most {max(seconds):.2f} s"


class World:
    """Call `run` once."""

    def __init__(
        self, folder: Path, launcher: Launcher, server: Server, seed: str, moments: int
    ) -> None:
        self._random = Random(seed)
        name = f"world_{seed.replace('/', '_')}"
        server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        audit.install(server, name)
        self._fleet = Fleet(folder, launcher, server, name, self._random)
        self._moments = moments
        self._left: list[float] = []  # when a leader was killed
        self._ended: list[float] = []  # when a leader was sent SIGTERM
        self.figures = Figures()

    def run(self) -> Figures:
        """Live and die; rest, settle what is in doubt, and look at everything."""
        with self._fleet as fleet:
            fleet.start()
            fleet.a_leader()
            while self.figures.moments < self._moments:
                self._moment()
                rules.look(fleet)
            fleet.rest()
            rules.at_the_end(fleet)
            self._count()
            fleet.end()
            rules.look(fleet)
        return self.figures

    def _moment(self) -> None:
        fleet, random = self._fleet, self._random
        fleet.let_the_api_be_slow()
        fleet.publish(random.randint(1, 2))
        leader = fleet.a_leader(within=takeover_limit())
        victim = leader if random.random() < 0.75 else random.choice(fleet.daemons)
        if victim.life is None:
            fleet.start(victim)
        kind = random.choices((KILL, STOP, END, HEIR), (5, 3, 2, 1))[0]
        if kind == HEIR:
            self._kill_the_heir()
            return
        if kind == END:
            time.sleep(random.uniform(0, 0.6))
        else:
            self._meet(victim, SIGKILL if kind == KILL else SIGSTOP, leads=victim is leader)
        self.figures.moments += 1
        self.figures.of_leaders += victim is leader
        leads = fleet.leader() is victim
        if kind == KILL:
            self.figures.kills += 1
            self._left += [time.time()] if leads else []
            fleet.kill(victim)
        elif kind == STOP:
            self._stop(victim)
        else:
            self.figures.ends += 1
            self._ended += [time.time()] if leads else []
            fleet.terminate(victim)
        if victim.life is None:
            time.sleep(random.uniform(0, 0.5))
            if random.random() < 0.5:
                fleet.a_leader(victim, within=takeover_limit())
            fleet.start(victim)

    def _meet(self, victim: Daemon, number: int, *, leads: bool) -> None:
        """Wait for the moment: one by chance, or a boundary, where the victim does it itself."""
        random = self._random
        if random.random() < 0.3:
            time.sleep(random.uniform(0, 1))
            return
        names = LEADERS if leads and random.random() < 0.85 else EVERYBODYS
        name, side = random.choice(list(names)), random.choice(SIDES)
        nth = random.randint(1, names[name])
        trap = Trap(name=name, side=side, nth=nth, signal=number)
        if self._fleet.trap(victim, trap):
            self.figures.named[f"{name}, {side}"] += 1
        else:
            self.figures.missed += 1

    def _kill_the_heir(self) -> None:
        """End the leader, and kill the next one as it begins to lead."""
        fleet = self._fleet
        living = [one for one in fleet.daemons if one.life is not None]
        for one in living:
            fleet.until(partial(_is_ready, one), f"{one.name} does not start")
        time.sleep(2 * TTL)  # who leads lives, by then; and at its start a daemon compares as well
        leader = fleet.a_leader(within=takeover_limit())
        heirs = [one for one in living if one is not leader]
        side = self._random.choice(SIDES)
        for one in heirs:
            set_trap(one.crumb, Trap(name="compare", side=side, nth=1))
        fleet.terminate(leader)
        until = time.monotonic() + takeover_limit()
        while not any(one.trapped() is not None for one in heirs):
            if time.monotonic() > until:
                fleet.fail("nobody has begun to lead after a SIGTERM")
            time.sleep(0.01)
        for one in heirs:
            disarm(one.crumb)
        time.sleep(0.1)  # one may be on its way into its trap
        killed = [one for one in heirs if one.trapped() is not None]
        for one in killed:
            fleet.kill(one)
        self.figures.moments += 2
        self.figures.ends += 1
        self.figures.kills += 1
        self.figures.of_leaders += 2
        self.figures.named[f"compare, {side}"] += 1
        fleet.start(leader, *killed)

    def _stop(self, victim: Daemon) -> None:
        self.figures.stops += 1
        self._fleet.freeze(victim)
        time.sleep(self._random.choice((0.5, 1.0, 2.0)) * TTL + self._random.uniform(0, 0.5))
        self._fleet.thaw(victim)
        self._fleet.a_leader(within=takeover_limit())

    def _count(self) -> None:
        fleet, figures = self._fleet, self.figures
        figures.published = len(fleet.published)
        sent = list(posts(fleet.sandbox))
        figures.submissions = len(sent)
        figures.taken = sum(post.job is not None for post in sent)
        doubts = "select count(*) from history where state = 'unknown'"
        figures.doubts = fleet.server.execute(doubts, fleet.database)[0][0]
        ids = [one.id for one in fleet.receiver.events]
        figures.told_again = len(ids) - len(set(ids))
        figures.terms = max(one.term for one in fleet.elections())
        figures.after_kills = rules.takeovers(fleet, self._left)
        figures.after_ends = rules.takeovers(fleet, self._ended)
