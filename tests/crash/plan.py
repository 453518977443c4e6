"""Which kill comes when: by the seed alone, so that a failure can be had again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice
from random import Random

from tests.crash.boundaries import SIDES, Trap

ONE_STEP, TWO_STEPS = "ads", "enhance,ads"
MIXED = "mixed"  # each of them in every other world
PIPELINES = (MIXED, ONE_STEP, TWO_STEPS)

IN_DATABASE = ("commit", "statement")
ON_THE_WIRE = ("send", "receive")


def _of_enhance(name: str) -> str:
    operation, slash, inner = name.partition("/")
    return f"{operation} enhance{slash}{inner}"


# The steps, and what happens within each of them; after the word the highest `nth`.
BIRTH = {  # of a database: only where there is none yet
    "upgrade": 1,
    "upgrade/commit": 1,
    "upgrade/statement": 15,
    "open/commit": 1,
    "open/statement": 2,
    "sync_feeds/statement": 1,
}
AROUND = {  # what is paid for
    "open": 1,
    "open/file": 1,
    "sync_feeds": 1,
    "sync_feeds/commit": 1,
    "forget passes": 1,
    "forget passes/commit": 1,
    "forget passes/statement": 1,
    "compare": 1,
    "fetch": 6,
    "fetch/send": 6,
    "fetch/receive": 6,
    "parse": 3,
    "record_check": 6,
    "record_check/commit": 6,
    "record_check/statement": 8,
    "record_unchanged": 2,
    "record_unchanged/commit": 2,
    "record_unchanged/statement": 2,
    "beat": 3,
    "beat/commit": 3,
    "beat/statement": 3,
}
PAID = {
    "prepare": 3,
    "claim": 3,
    "claim/commit": 3,
    "claim/statement": 4,
    "append claim": 3,
    "append claim/file": 6,
    "append claim/line": 6,
    "append claim/half": 6,
    "append claim/sync": 6,
    "submit": 2,
    "submit/send": 4,
    "submit/receive": 2,
    "append outcome": 2,
    "append outcome/file": 6,
    "append outcome/line": 6,
    "append outcome/half": 6,
    "append outcome/sync": 6,
    "settle answer": 2,
    "settle answer/commit": 2,
    "settle answer/statement": 4,
    "change_gate": 3,
    "change_gate/commit": 3,
    "change_gate/statement": 3,
    "poll": 3,
    "poll/send": 3,
    "poll/receive": 3,
    "save poll": 3,
    "save poll/commit": 3,
    "save poll/statement": 4,
    "probe": 1,
    "probe/send": 1,
    "probe/receive": 1,
}
ALWAYS = AROUND | PAID
HELPED = {  # the same of a helper step, and what that alone has
    **{_of_enhance(name): nth for name, nth in PAID.items()},
    "fetch token": 1,
    "fetch token/send": 2,
    "fetch token/receive": 1,
    "read output": 2,
    "read output/send": 2,
    "read output/receive": 2,
    "go on": 2,
    "go on/commit": 2,
    "go on/statement": 6,
}
# Steps of a clean stop, which no life that is killed comes to. They only clear the heartbeats.
AT_REST = frozenset({"rest", "rest/commit", "rest/statement"})
# No trap waits for these, since a life may not come to them: answers that the journal alone has, of
# episodes met and not, a place to be filled up, podcasts to be looked up, documents to be served,
# episodes that waited.
BY_CHANCE = frozenset(
    {
        *("look again", "look again/commit", "look again/statement"),
        *("keep documents", "keep documents/commit", "keep documents/statement"),
        *("settle found", "settle found/commit", "settle found/statement", "compare/file"),
        *("settle unmet", "settle unmet/commit", "settle unmet/statement"),
        *("look up", "look up/send", "look up/receive", "note podcasts", "note podcasts/commit"),
    }
)
AFTERMATH = {  # of a kill between a claim and its answer
    "settle doubt": 1,
    "settle doubt/commit": 1,
    "settle doubt/statement": 2,
}
RESTORED = {  # where the journal has claims that the database lacks
    "import": 1,
    "import/commit": 1,
    "import/statement": 5,
}
# In each world
TRAPS, AFTERMATHS, MOMENTS = 13, 2, 2
TRAPS_AT_HELPED = 9  # of the traps, where there are two steps; the others are at `PAID`
LOSSES, STEPS = 2, 2  # of a place of the journal, of the clock
LIVES_BEFORE = 4  # a copy is put back: there must be one, and something in it
PLAIN_EVERY = 3  # worlds, so that it comes to both pipelines

EVERY = BIRTH | ALWAYS | HELPED | AFTERMATH | RESTORED


class Restore(Enum):
    """How an earlier copy of the database takes its place."""

    ONCE = auto()  # between two lives
    AGAIN = auto()  # the same copy once more
    LIVE = auto()  # over the file of a daemon that runs


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What ends a life: a trap, or a moment."""

    trap: Trap | None = None
    delay: float = 0.0  # seconds after the birth, where there is no trap
    plain: bool = False  # of the command itself, as a new process with nothing wrapped
    restore: Restore | None = None  # before this life, or in it
    loses_place: bool = False  # of the journal, before this life
    steps_clock: bool = False  # forward, before this life


class Plan:
    """The kills of one world. Those of all worlds together go round all boundaries evenly."""

    def __init__(self, seed: int, world: int, pipeline: str) -> None:
        """`pipeline` is one of `PIPELINES`."""
        self.random = Random(f"{seed}/{world}")
        rank = world // 2 if pipeline == MIXED else world  # among those with the same one
        if pipeline == MIXED:
            pipeline = TWO_STEPS if world % 2 else ONE_STEP
        self.pipeline = pipeline
        self._birth = _share(seed, world, "birth", BIRTH, 1)
        self._aftermath = _share(seed, world, "aftermath", AFTERMATH, AFTERMATHS)
        if pipeline == ONE_STEP:
            traps = _share(seed, rank, "always", ALWAYS, TRAPS)
        else:
            traps = _share(seed, rank, "helped", HELPED, TRAPS_AT_HELPED)
            traps += _share(seed, rank, "paid", PAID, TRAPS - TRAPS_AT_HELPED)
        kills = [Kill(trap=trap) for trap in traps]
        kills += [Kill(delay=self.random.uniform(0.0, 0.8)) for _ in range(MOMENTS)]
        if world % PLAIN_EVERY == 0:
            kills[-1] = Kill(delay=self.random.uniform(0.5, 3.0), plain=True)
        self.random.shuffle(kills)
        for place in self.random.choices(range(len(kills)), k=LOSSES):
            kills[place] = replace(kills[place], loses_place=True)
        for place in self.random.choices(range(len(kills)), k=STEPS):
            kills[place] = replace(kills[place], steps_clock=True)
        first, second = _share(seed, world, "restored", RESTORED, 2)
        restores = [
            [Kill(trap=first, restore=Restore.ONCE)],
            [
                Kill(trap=second, restore=Restore.ONCE),
                Kill(delay=self.random.uniform(0.2, 0.8), restore=Restore.AGAIN),
            ],
            *([Kill(delay=self.random.uniform(0.1, 0.6), restore=Restore.LIVE)] for _ in range(2)),
        ]
        later = [*([kill] for kill in kills[LIVES_BEFORE:]), *restores]
        self.random.shuffle(later)
        self._rest = kills[:LIVES_BEFORE] + [kill for group in later for kill in group]

    def next(self, *, newborn: bool, doubt: bool) -> Kill | None:
        """How the next life ends; None: in peace, and the world with it."""
        if newborn and self._birth:
            return Kill(trap=self._birth.pop())
        if doubt and self._aftermath:
            return Kill(trap=self._aftermath.pop())
        return self._rest.pop(0) if self._rest else None


def _share(seed: int, world: int, kind: str, boundaries: dict[str, int], share: int) -> list[Trap]:
    return list(islice(_round(seed, kind, boundaries), world * share, (world + 1) * share))


def _round(seed: int, kind: str, boundaries: dict[str, int]) -> Iterator[Trap]:
    """Each boundary on both sides, in a mixed order, over and over."""
    random = Random(f"{seed}/{kind}")
    pairs = [(name, side) for name in boundaries for side in SIDES]
    while True:
        random.shuffle(pairs)
        for name, side in pairs:
            yield Trap(name=name, side=side, nth=random.randint(1, boundaries[name]))
