"""`doctor`, `healthcheck` and `podcasts`."""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import click
import httpx

from feedwatch.cli.assembly import api, feed_client, notify_channels, opened, read_settings
from feedwatch.cli.check import error_of
from feedwatch.cli.output import (
    FAILED,
    as_json,
    print_json,
    print_table,
    stop,
    tell,
)
from feedwatch.config.keys import Settings
from feedwatch.core import events
from feedwatch.core.feed import ParsedFeed
from feedwatch.core.job import Later
from feedwatch.feeds.parser_process import Parser
from feedwatch.net.client import Cancellation, client, deadline, described
from feedwatch.processors.inlet import Inlet
from feedwatch.store.errors import StoreError
from feedwatch.watcher.checks import look

CLOCK_MAY_DIFFER = timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check of `doctor` found; `mend` says what to do where it is not ok."""

    check: str
    ok: bool
    found: str
    mend: str | None = None


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
    for finding in _findings(settings, notify=notify):
        findings.append(finding)
        if not as_json:
            tell(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.found}")
            if finding.mend:
                tell(f"      → {finding.mend}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        sys.exit(FAILED)


def _findings(settings: Settings, *, notify: bool) -> Iterator[Finding]:
    yield _config(settings)
    yield _database(settings)
    cancellation = Cancellation()
    with client(cancellation) as http:
        yield _clock(http, settings)
    with api(settings, cancellation) as inlet:
        yield from _api(inlet, settings)
    yield from _feeds(settings, cancellation)
    yield from _notifications(settings, cancellation, notify=notify)


def _config(settings: Settings) -> Finding:
    return Finding(
        check="config",
        ok=not settings.warnings and bool(settings.sources),
        found=f"{settings.path or 'the environment'}, {len(settings.sources)} feeds",
        mend="; ".join(settings.warnings)
        or (None if settings.sources else "add a feed: FEEDWATCH_FEEDS__NAME__URL"),
    )


def _database(settings: Settings) -> Finding:
    try:
        with opened(settings) as store:
            number = sum(store.statistics.by_state().values())
            found = f"{store.place}, {number} episodes"
            path = store.path
            if path is not None and not path.exists():
                found = f"{store.place}, not made yet"
    except StoreError as error:
        return Finding(check="database", ok=False, found=str(error), mend="see the message")
    if path is None or os.access(path if path.exists() else path.parent, os.W_OK):
        return Finding(check="database", ok=True, found=found)
    mend = f"give this user the right to write {path.parent}, or run this as the daemon's user"
    if not path.parent.exists():
        mend = f"make the folder {path.parent}"
    return Finding(check="database", ok=False, found=f"{found}, not writable", mend=mend)


def _clock(http: httpx.Client, settings: Settings) -> Finding:
    """Ours against the API's: published dates and deadlines depend on it."""
    try:
        with deadline(20):
            theirs = parsedate_to_datetime(http.get(settings.api_url).headers.get("date", ""))
    except (httpx.HTTPError, ValueError, TypeError) as error:
        found = f"cannot be compared with the API's ({described(error)})"
        return Finding(check="clock", ok=False, found=found, mend="see whether the API answers")
    off = abs(datetime.now(UTC) - theirs)
    return Finding(
        check="clock",
        ok=off < CLOCK_MAY_DIFFER,
        found=f"{off.total_seconds():.0f} s off the API's",
        mend=None if off < CLOCK_MAY_DIFFER else "set this machine's clock, by NTP for example",
    )


def _api(inlet: Inlet, settings: Settings) -> Iterator[Finding]:
    podcast_id = settings.sources[0].podcast_id if settings.sources else ""
    failure = inlet.probe(podcast_id, None)
    if failure is not None:
        mend = f"see FEEDWATCH_API_KEY and FEEDWATCH_API_URL={settings.api_url}"
        yield Finding(check="API key", ok=False, found=failure.reason, mend=mend)
        return
    yield Finding(check="API key", ok=True, found=f"taken by {settings.api_url}")
    for source in settings.sources:
        name = f"podcast id of {source.name}"
        key = f"FEEDWATCH_FEEDS__{source.name.upper()}__PODCAST_ID"
        match inlet.has_podcast(source.podcast_id):
            case True:
                yield Finding(check=name, ok=True, found=source.podcast_id)
            case None:
                yield Finding(check=name, ok=True, found="the API does not say")
            case Later(reason):
                yield Finding(check=name, ok=False, found=reason, mend="try again later")
            case _:
                yield Finding(
                    check=name,
                    ok=False,
                    found=f"the API key reaches no podcast {source.podcast_id}",
                    mend=f"see `feedwatch podcasts`, then set {key}",
                )


def _feeds(settings: Settings, cancellation: Cancellation) -> Iterator[Finding]:
    with feed_client(cancellation) as http, Parser() as parser:
        for source in settings.sources:
            outcome = look(http, parser, source).outcome
            name = f"feed {source.name}"
            if not isinstance(outcome, ParsedFeed) or not outcome.items:
                mend = f"see FEEDWATCH_FEEDS__{source.name.upper()}__URL"
                yield Finding(check=name, ok=False, found=error_of(outcome), mend=mend)
                continue
            playable = sum(item.enclosure_url is not None for item in outcome.items)
            yield Finding(
                check=name,
                ok=playable > 0,
                found=f"{len(outcome.items)} items, {playable} with an enclosure",
                mend=None if playable else "is it a podcast? MEDIA_TYPES says what counts",
            )


def _notifications(
    settings: Settings, cancellation: Cancellation, *, notify: bool
) -> Iterator[Finding]:
    test = events.test(datetime.now(UTC))
    with notify_channels(settings, cancellation) as channels:
        for channel in channels:
            complaint = channel.complaint()
            if complaint is None and notify:
                complaint = channel.deliver(test)
            yield Finding(
                check=f"notifications by {channel.name}",
                ok=complaint is None,
                found=complaint or ("took a test" if notify else "configured; --notify tries it"),
                mend=None if complaint is None else "see the FEEDWATCH_NOTIFY_… keys",
            )


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
        print_table(
            ("id", "name"),
            ((row["id"], row["name"]) for row in rows),
            "The API key reaches no podcast.",
        )
