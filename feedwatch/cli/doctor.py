"""`doctor` and `podcasts`: whether all that the daemon needs works."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import click
import httpx

from feedwatch.cli.assembly import api, apis_of, feed_client, notify_channels
from feedwatch.cli.check import coming_import, error_of
from feedwatch.cli.doctor_mediaapis import mediaapis_findings
from feedwatch.cli.doctor_postgresql import postgresql_findings
from feedwatch.cli.obstacles import mend_at, mend_for
from feedwatch.cli.output import FAILED, as_json, print_json, print_table, stop, tell
from feedwatch.cli.progress import progress
from feedwatch.cli.screen import painted
from feedwatch.cli.settings import journal_places, opened, read_settings
from feedwatch.config.keys import Settings
from feedwatch.config.problems import placeholder_key, placeholders
from feedwatch.core import events
from feedwatch.core.feed import ParsedFeed
from feedwatch.core.job import Later
from feedwatch.core.ledger import Outcome
from feedwatch.core.pipeline import processors_of
from feedwatch.core.printable import counted
from feedwatch.core.settings import feed_key
from feedwatch.core.status import Finding
from feedwatch.core.websub import Push
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import (
    Cancellation,
    client,
    deadline,
    described,
)
from feedwatch.processors import INLET, MEDIAAPIS
from feedwatch.processors.inlet import Inlet
from feedwatch.store.database import file_of
from feedwatch.store.errors import StoreError
from feedwatch.store.journal import problem_of
from feedwatch.store.lock import is_mount_point
from feedwatch.store.replication import replication
from feedwatch.watcher.look import look
from feedwatch.watcher.overview import OWN_DATABASE, only_at_a_sandbox, push, topics
from feedwatch.watcher.restore import NextImport

CLOCK_MAY_DIFFER = timedelta(minutes=2)


@click.command()
@click.option("--notify", is_flag=True, help="Send a test through each channel of notifications.")
@as_json
@click.pass_obj
def doctor(config: Path | None, *, notify: bool, as_json: bool) -> None:
    """Check config, database, clock, API key, podcast ids and feeds.

    Says how to mend each of them.
    """
    settings = read_settings(config, needs_key=True)
    findings = []
    with progress("looking at the config") as line:
        for finding in findings_of(settings, notify=notify):
            findings.append(finding)
            if not as_json:
                with line.hidden():
                    _tell_finding(finding)
            line.say(f"{len(findings)} checked, last: {finding.check}")
    if as_json:
        print_json(
            [
                {"check": one.check, "ok": one.ok, "found": one.found, "mend": one.mend}
                for one in findings
            ]
        )
    if not all(finding.ok for finding in findings):
        sys.exit(FAILED)


def _tell_finding(finding: Finding) -> None:
    verdict = "warn" if finding.may_stay else "ok" if finding.ok else "FAIL"
    tell(
        f"{painted(verdict, verdict)}{' ' * (6 - len(verdict))}{finding.check}: {finding.found}", 6
    )
    if finding.mend:
        tell(f"      → {finding.mend}", 8)


def findings_of(settings: Settings, *, notify: bool) -> Iterator[Finding]:
    """What `doctor` finds, one after another."""
    missing = [] if settings.sources else ["add a feed: FEEDWATCH_FEEDS__NAME__URL"]
    left = [*placeholder_key(settings.api_key, settings.api_url), *placeholders(settings.sources)]
    yield Finding(
        "config",
        f"{settings.path or 'the environment'}, {counted(len(settings.sources), 'feed')}",
        "; ".join([*settings.warnings, *missing, *left]) or None,
    )
    yield from _database(settings)
    yield _journal(settings)
    cancellation = Cancellation()
    with client(cancellation, settings.proxy) as http:
        apis = apis_of(settings)
        yield _clock(http, next(iter(apis.values()), settings.api_url))
        needed = processors_of(settings.sources)
        if INLET in needed:
            with api(settings, cancellation) as inlet:
                yield from _api(inlet, settings, http)
    if MEDIAAPIS in needed:
        yield from mediaapis_findings(settings, cancellation)
    yield from _feeds(settings, cancellation)
    yield from _notifications(settings, cancellation, notify=notify)


def _database(settings: Settings) -> Iterator[Finding]:
    """Whether the database can be used, and what it lacks."""
    try:
        with opened(settings) as store:
            path, number = store.path, sum(store.statistics.by_state().values())
            there = path is None or path.exists()
            found = "no tables yet: `feedwatch run` makes them" if there else "not made yet"
            if store.is_made:
                found = counted(number, "episode")
            yield Finding("database", *_writable(path, f"{store.place}, {found}"))
            yield from postgresql_findings(replication(settings.database_url))
            yield from _lacking(coming_import(settings, store))
            found_push = push(store, settings.sources, datetime.now(UTC))
            yield from _push(settings, found_push, len(topics(store, settings.sources)))
            sandboxed = only_at_a_sandbox(store, apis_of(settings))
            if sandboxed is not None:
                yield Finding("sandbox", sandboxed, OWN_DATABASE)
    except StoreError as error:
        yield Finding("database", str(error), "see the message")


def _push(settings: Settings, found: Push | None, named: int) -> Iterator[Finding]:
    """Whether the feeds that name a hub, so many, are subscribed to it."""
    if not named:
        return
    if not settings.hears_hubs:
        why = "hubs would reach feedwatch by FEEDWATCH_PUBLIC_LISTEN and FEEDWATCH_PUBLIC_URL"
        yield Finding("push", f"{counted(named, 'feed')} with a hub, only polled: {why}")
        return
    subscribed, errors = (found.subscribed, found.errors) if found is not None else (0, ())
    mend = f"see whether {settings.public_url}/websub/ is reached from outside; polling goes on"
    yield Finding(
        "push",
        "; ".join([f"{subscribed} of {counted(named, 'feed')} with a hub subscribed", *errors]),
        mend if errors else None,
    )


def _writable(path: Path | None, found: str) -> tuple[str, str | None]:
    """What is `found` of the database, and how to mend it where it cannot be written."""
    if path is None:
        return found, None
    if is_mount_point(path):
        mend = "mount its folder instead: the write-ahead log beside it must go where it goes"
        return f"{found}, a file mounted by itself", mend
    if os.access(path if path.exists() else path.parent, os.W_OK):
        return found, None
    mend = f"give this user the right to write {path.parent}, or run this as the daemon's user"
    if not path.parent.exists():
        mend = f"make the folder {path.parent}"
    return f"{found}, not writable", mend


def _lacking(coming: NextImport) -> Iterator[Finding]:
    """Claims of the journal that the database lacks, and what the next start does with them."""
    if not coming.missing:
        return
    outcomes = Counter(claim.outcome for claim in coming.missing)
    doubtful = outcomes[Outcome.OPEN] + outcomes[Outcome.UNKNOWN]
    accepted, number = outcomes[Outcome.ACCEPTED], len(coming.missing)
    feeds = ", ".join(sorted(coming.doubted_until)) or "no feed of the config"
    yield Finding(
        "journal and database",
        f"the journal has {counted(number, 'claim')} that this database lacks: "
        f"{accepted} accepted, {doubtful} in doubt, {number - accepted - doubtful} not taken",
        "was it lost or restored, the next start takes them over: accepted ones are polled, those "
        f"in doubt become unknown, older items that turn up are held, in: {feeds}. Is it another "
        "database, see FEEDWATCH_DATABASE_URL",
    )


def _journal(settings: Settings) -> Finding:
    """Where the journal of claims is kept, which tells what a lost database has paid for."""
    file = file_of(settings.database_url)
    database = file.resolve() if file is not None else None
    problems = {path: problem_of(path) for path in journal_places(settings, database)}
    usable = [str(path) for path, problem in problems.items() if problem is None]
    if usable:
        return Finding("journal", ", ".join(usable))
    tried = "; ".join(f"{path}: {problem}" for path, problem in problems.items())
    return Finding(
        "journal",
        f"no place can be written: {tried or 'none is known'}",
        "a lost or restored database would not be noticed: let feedwatch write beside the config, "
        "or set CACHE_DIRECTORY",
    )


def _clock(http: httpx.Client, url: str) -> Finding:
    """Our clock against the API's at `url`: published dates and deadlines depend on it."""
    try:
        with deadline(20):
            theirs = parsedate_to_datetime(http.get(url).headers.get("date", ""))
    except (httpx.HTTPError, ValueError, TypeError) as error:
        found = f"cannot be compared with the API's ({described(error)})"
        return Finding(
            "clock", found, mend_for(error, "FEEDWATCH_PROXY", "see whether the API answers")
        )
    off = abs(datetime.now(UTC) - theirs)
    mend = None if off < CLOCK_MAY_DIFFER else "set this machine's clock, by NTP for example"
    return Finding("clock", f"{off.total_seconds():.0f} s off the API's", mend)


def _api(inlet: Inlet, settings: Settings, http: httpx.Client) -> Iterator[Finding]:
    sources = [source for source in settings.sources if source.podcast_id]
    podcast_id = sources[0].podcast_id if sources else ""
    failure = inlet.probe(podcast_id, None)
    if failure is not None:
        step = f"see FEEDWATCH_API_KEY and FEEDWATCH_API_URL={settings.api_url}"
        step = mend_at(http, settings.api_url, "FEEDWATCH_PROXY", step)
        yield Finding("API key", failure.reason, step)
        for source in sources:
            name = f"podcast id of {source.name}"
            yield Finding(name, f"{source.podcast_id}, not asked for", "mend the API key first")
        return
    yield Finding("API key", f"taken by {settings.api_url}")
    for source in sources:
        name, podcast = f"podcast id of {source.name}", source.podcast_id
        match inlet.has_target(podcast):
            case True:
                yield Finding(name, podcast)
            case None:
                yield Finding(name, "the API does not say")
            case Later(reason):
                yield Finding(name, reason, "try again later")
            case _:
                mend = f"see `feedwatch podcasts`, then set {feed_key(source.name, 'PODCAST_ID')}"
                yield Finding(name, f"the API key reaches no podcast {podcast}", mend)


def _feeds(settings: Settings, cancellation: Cancellation) -> Iterator[Finding]:
    with feed_client(settings, cancellation) as http, Parser() as parser:
        for source in settings.sources:
            outcome = look(http, parser, source).outcome
            name = f"feed {source.name}"
            if not isinstance(outcome, ParsedFeed) or not outcome.items:
                step = f"see {feed_key(source.name, 'URL')}"
                step = mend_at(http, source.url, "FEEDWATCH_FEED_PROXY", step)
                yield Finding(name, error_of(outcome), step)
                continue
            playable = sum(item.enclosure_url is not None for item in outcome.items)
            found = f"{counted(len(outcome.items), 'item')}, {playable} with an enclosure"
            key = feed_key(source.name, "MEDIA_TYPES")
            mend = None if playable else f"is it a podcast? {key} says what counts"
            yield Finding(name, found, mend)


def _notifications(
    settings: Settings, cancellation: Cancellation, *, notify: bool
) -> Iterator[Finding]:
    test = events.test(datetime.now(UTC))
    with notify_channels(settings, cancellation) as channels:
        for channel in channels:
            name = f"notifications by {channel.name}"
            complaint = channel.complaint()
            if complaint is None and notify:
                complaint = channel.deliver(test)
            if complaint is not None:
                yield Finding(name, complaint, "see the FEEDWATCH_NOTIFY_… keys")
            else:
                yield Finding(name, "took a test" if notify else "configured; --notify tries it")


@click.command()
@as_json
@click.pass_obj
def podcasts(config: Path | None, *, as_json: bool) -> None:
    """List the podcasts that the API key reaches, with their ids.

    The config wants these ids as FEEDWATCH_FEEDS__NAME__PODCAST_ID.
    """
    settings = read_settings(config, needs_key=True, needs_feeds=False)
    with api(settings, Cancellation()) as inlet:
        found = inlet.podcasts()
    if isinstance(found, Later):
        stop(found.reason)
    rows = [{"id": one.get("id"), "name": one.get("name")} for one in found]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, "The API key reaches no podcast.")
