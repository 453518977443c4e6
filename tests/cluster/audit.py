"""Triggers in the database: who was elected when, and who led when a claim was committed."""

from dataclasses import dataclass

from tests.databases import Server

AUDIT = """
create table audit_terms (
  term bigint, holder text, at timestamptz not null default clock_timestamp());
create table audit_claims (number bigint, term bigint, leader_term bigint, holder text,
  at timestamptz not null default clock_timestamp());
create function audit_leader() returns trigger language plpgsql as $$
begin
  insert into audit_terms (term, holder) values (new.term, new.holder);
  return null;
end $$;
create trigger audit_leader after update on leaders for each row
  when (old.term <> new.term or old.holder is distinct from new.holder)
  execute function audit_leader();
create function audit_claim() returns trigger language plpgsql as $$
begin
  insert into audit_claims (number, term, leader_term, holder)
    select new.number, new.term, leaders.term, holder from leaders, episodes
    -- else the journal has it, from before a failover
    where episodes.claim = new.number and episodes.state = 'submitting';
  return null;
end $$;
create constraint trigger audit_claim after insert on claims
  deferrable initially deferred for each row execute function audit_claim();
"""


@dataclass(frozen=True, kw_only=True)
class Election:
    """A daemon has taken the lease; without one, it was given back."""

    term: int
    holder: str | None
    at: float  # seconds since 1970


@dataclass(frozen=True, kw_only=True)
class AuditedClaim:
    """A claim, and the term and the holder of the lease as it was committed."""

    number: int
    term: int
    leader_term: int
    holder: str | None
    at: float


def install(server: Server, name: str) -> None:
    """Begin to note, in a database that has all tables."""
    server.execute(AUDIT, name)


def elections(server: Server, name: str) -> list[Election]:
    """All of them, in their order."""
    query = "select term, holder, extract(epoch from at)::float from audit_terms order by at"
    return [
        Election(term=term, holder=holder, at=at)
        for term, holder, at in server.execute(query, name)
    ]


def audited_claims(server: Server, name: str) -> list[AuditedClaim]:
    """All of them, in the order of their numbers."""
    query = (
        "select number, term, leader_term, holder, extract(epoch from at)::float"
        " from audit_claims order by number"
    )
    fields = ("number", "term", "leader_term", "holder", "at")
    rows = server.execute(query, name)
    return [AuditedClaim(**dict(zip(fields, row, strict=True))) for row in rows]
