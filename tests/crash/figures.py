"""What was counted."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(kw_only=True)
class Figures:
    """Of one world, or of many."""

    worlds: int = 0
    longer: int = 0  # of these with two steps
    kills: int = 0
    lives: int = 0
    published: int = 0
    sent_twice: int = 0
    lost: int = 0
    # By their steps
    submissions: Counter[str] = field(default_factory=Counter)  # POSTs that reached the API
    taken: Counter[str] = field(default_factory=Counter)
    unknown_taken: Counter[str] = field(default_factory=Counter)
    unknown_not_taken: Counter[str] = field(default_factory=Counter)
    moments: int = 0  # kills at a random moment
    plain: int = 0  # of these kills of the command itself
    restores: int = 0  # of an earlier copy of the database
    live_restores: int = 0  # of these over the file of a running daemon
    lost_places: int = 0  # of the journal: deleted, emptied or torn
    boundaries: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)  # traps that did not close in time
    crossed: set[str] = field(default_factory=set)  # every boundary that lives in peace crossed

    def add(self, other: Self) -> None:
        """Count another world in."""
        for one in fields(self):
            name = one.name
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, mine | theirs if name == "crossed" else mine + theirs)

    def to_json(self) -> dict[str, Any]:
        """For the way between two processes."""
        return vars(self) | {"crossed": sorted(self.crossed)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The way back."""
        counters = {name: Counter(it) for name, it in values.items() if isinstance(it, dict)}
        return cls(**values | counters | {"crossed": set(values["crossed"])})

    def summary(self) -> str:
        """One line."""
        return (
            f"{self.kills} kills ({self.boundaries.total()} at a boundary, "
            f"{self.moments + self.plain + self.missed.total()} at a moment), "
            f"{self.restores} restores ({self.live_restores} over a running daemon), "
            f"{self.lost_places} places of the journal lost, "
            f"{self.lives} lives in {self.worlds} worlds, {self.longer} of them with two steps; "
            f"{self.published} episodes published, "
            f"submissions received: {_by_step(self.submissions)}, taken: {_by_step(self.taken)}; "
            f"{self.sent_twice} sent twice, {self.lost} lost; unknown and taken: "
            f"{_by_step(self.unknown_taken)}, unknown and not: {_by_step(self.unknown_not_taken)}"
        )

    def table(self) -> str:
        """The kills at each boundary."""
        names = sorted({name.rpartition(", ")[0] for name in self.boundaries | self.missed})
        lines = [f"{'boundary':<26}{'before':>8}{'after':>8}{'missed':>8}"]
        for name in names:
            sides = [self.boundaries[f"{name}, {side}"] for side in ("before", "after")]
            missed = sum(self.missed[f"{name}, {side}"] for side in ("before", "after"))
            lines.append(f"{name:<26}{sides[0]:>8}{sides[1]:>8}{missed or '':>8}")
        lines.append(f"{'at a random moment':<26}{self.moments:>8}")
        lines.append(f"{'the command itself':<26}{self.plain:>8}")
        return "\n".join(lines)


def _by_step(counts: Counter[str]) -> str:
    each = ", ".join(f"{step} {count}" for step, count in sorted(counts.items()))
    return f"{counts.total()} ({each})" if each else "0"
