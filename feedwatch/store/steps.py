"""Steps: those that have ended, written in the transaction of the move."""

from dataclasses import asdict, fields

from sqlalchemy import Connection, and_, insert, select, update

from feedwatch.core.pipeline import EndedStep, Step, StepOutcome
from feedwatch.store.schema import steps

COLUMNS = [steps.c[one.name] for one in fields(EndedStep)]


def keep_step(db: Connection, episode_id: int, ended: EndedStep) -> None:
    """Write down a step that has ended; one that had failed may have been mended since."""
    of = steps.c
    row = and_(of.episode_id == episode_id, of.step == ended.step, of.claim == ended.claim)
    values = asdict(ended)
    if ended.claim is None or db.execute(update(steps).where(row).values(values)).rowcount == 0:
        db.execute(insert(steps).values(episode_id=episode_id, **values))


def fetch_steps(db: Connection, episode_id: int) -> list[EndedStep]:
    """The steps of an episode that have ended, in the order in which they did first."""
    query = select(*COLUMNS).where(steps.c.episode_id == episode_id).order_by(steps.c.id)
    return [
        EndedStep(**dict(row) | {"step": Step(row["step"]), "outcome": StepOutcome(row["outcome"])})
        for row in db.execute(query).mappings()
    ]
