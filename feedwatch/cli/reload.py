"""Reload: takes over a changed configuration while the daemon runs."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from feedwatch.config.changes import changes
from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import PREFIX
from feedwatch.config.keys import NEEDS_RESTART, Settings
from feedwatch.config.load import load
from feedwatch.config.mark import config_mark
from feedwatch.config.problems import placeholders
from feedwatch.core import circuit_breaker
from feedwatch.core.masking import know
from feedwatch.core.printable import counted
from feedwatch.core.schedule import first_checks
from feedwatch.core.settings import feed_key
from feedwatch.logs import formatters
from feedwatch.processors import MEDIAAPIS, Processor
from feedwatch.store.errors import StoreError
from feedwatch.store.store import Store
from feedwatch.watcher.context import Context, Plan

log = logging.getLogger("feedwatch")


def plan_of(settings: Settings) -> Plan:
    """What the loops need of the config."""
    sources, outputs = {one.name: one for one in settings.sources}, settings.mediaapis.public_url
    return Plan(
        sources=sources,
        policy=settings.policy,
        policies={MEDIAAPIS: settings.mediaapis.policy},
        serves_feeds=settings.serve_feeds,
        file_addresses=(settings.api_url, *([outputs] if outputs is not None else [])),
    )


def keep_documents(store: Store, plan: Plan, now: datetime) -> None:
    """Keep the documents of the feeds that are served from now on, and no others.

    A feed that is not served for want of a key is said.
    """
    served = {name for name, source in plan.sources.items() if plan.serves(source)}
    store.documents.keep_only(served, now)
    for name in sorted(plan.sources.keys() - served) if plan.serves_feeds else ():
        log.warning(
            "feed %s: not served, since it is private: set %s, which gives it a path that nobody "
            "guesses",
            *(name, feed_key(name, "SERVE_KEY")),
            extra={"feed": name},
        )


class Reload:
    """Reads the config again and takes it over, as a whole or not at all."""

    def __init__(
        self,
        settings: Settings,
        context: Context,
        connect: Callable[[Settings, str], Processor],
        access_of: Callable[[Settings], Mapping[str, object]],
    ) -> None:
        """`connect` makes a processor by its name, `access_of` says what each is reached by.

        The clients of earlier ones stay open for their requests in flight.
        """
        self._settings = settings
        self._context = context
        self._connect = connect
        self._access_of = access_of
        self._established: Settings | None = None  # what the database follows

    def establish(self) -> None:
        """Have the database follow the config, as the leader alone does."""
        store, now = self._context.store, self._context.clock()
        with self._context.steady:
            settings = self._settings
            store.feeds.sync(settings.sources, first_checks(settings.sources, now))
            self._established = settings
        keep_documents(store, plan_of(settings), now)

    @property
    def is_pending(self) -> bool:
        """Whether the config was read anew while another daemon led, or nobody knew who."""
        return self._established is not self._settings

    def __call__(self) -> bool:
        """Read, compare, take over. Returns whether the config was accepted. One call at a time."""
        before = self._settings
        try:
            fresh = load(before.path, os.environ, to_watch=True)
            told = changes(before, fresh)
            keys = {f"{PREFIX}{name.upper()}" for name in NEEDS_RESTART}
            given = {key: text for key, text in fresh.given.items() if key not in keys}
            given |= {key: text for key, text in before.given.items() if key in keys}
            kept = {name: getattr(before, name) for name in NEEDS_RESTART}
            self._take(replace(fresh, given=given, **kept))
        except (ConfigError, StoreError) as error:
            wrong = error.problems if isinstance(error, ConfigError) else [str(error)]
        else:
            for line in told:
                log.info("config: %s", line)
            for line in (*fresh.warnings, *placeholders(fresh.sources)):
                log.warning("config: %s", line)
            log.info("config: read anew, %s", counted(len(told), "change"))
            return True
        for problem in wrong:
            log.error("config: %s", problem)
        log.error("config: not taken, what held before holds on")
        return False

    def _take(self, fresh: Settings) -> None:
        before, context = self._settings, self._context
        store, now, processors = context.store, context.clock(), context.processors
        changed = [one for one in fresh.sources if before.source(one.name) not in (None, one)]
        was, access, plan = self._access_of(before), self._access_of(fresh), plan_of(fresh)
        anew = {name for name in access if access[name] != was.get(name) or name not in processors}
        if anew or access.keys() != processors.keys():
            processors = {
                name: self._connect(fresh, name) if name in anew else processors[name]
                for name in access
            }
        leads = context.term() is not None
        for name in sorted(anew) if leads else ():
            store.breakers.change(
                name, lambda breaker: circuit_breaker.breaker_after_new_access(breaker, now)
            )
        store.feeds.make_due(now, [one.name for one in changed])
        mark = config_mark(fresh) if context.config_mark else ""
        with context.steady:
            if leads:
                # The last thing that can fail is this one transaction.
                store.feeds.sync(fresh.sources, first_checks(fresh.sources, now))
                self._established = fresh
            self._settings = fresh
            formatters.set_up(as_json=fresh.log_format == "json", level=fresh.log_level)
            know({*before.secrets(), *fresh.secrets()})  # also of requests in flight
            # Both at once: what the plan says of feeds holds for the API that it names.
            context.processors, context.plan = processors, plan
            context.config_mark = mark
        if leads:
            keep_documents(store, plan, now)
