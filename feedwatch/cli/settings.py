"""The configuration and the database: what most verbs begin with. `status` imports little more."""

import logging
import os
from contextlib import closing
from pathlib import Path

from feedwatch.config.keys import Settings
from feedwatch.config.load import load
from feedwatch.config.locate import find_file
from feedwatch.core.masking import know
from feedwatch.logs import formatters
from feedwatch.notify.names import COMMAND, WEBHOOK, apprise_name
from feedwatch.processors import INLET
from feedwatch.store.journal import places
from feedwatch.store.store import Store

log = logging.getLogger("feedwatch")


def read_settings(
    config: Path | None,
    *,
    needs_key: bool = False,
    needs_feeds: bool = True,
    to_watch: bool = False,
) -> Settings:
    """The configuration, read now, with the logs set up as it says. Raises `ConfigError`.

    `config` is the file that stands before the verb, if one does.
    """
    path = find_file(config, os.environ)
    settings = load(
        path, os.environ, needs_key=needs_key, needs_feeds=needs_feeds, to_watch=to_watch
    )
    know(settings.secrets())
    formatters.set_up(as_json=settings.log_format == "json", level=settings.log_level)
    for warning in settings.warnings:
        log.warning("%s", warning)
    return settings


def opened(
    settings: Settings, *, may_create: bool = False, alone: bool = False, must_lead: bool = True
) -> closing[Store]:
    """The database, to be closed by `with`. Raises `StoreError`."""
    store = Store(
        settings.database_url,
        processor=INLET,
        may_create=may_create,
        alone=alone,
        must_lead=must_lead,
    )
    store.outbox.put_for(channel_names(settings))
    return closing(store)


def channel_names(settings: Settings) -> list[str]:
    """What the channels of the config are called, without what they need to deliver."""
    names = [COMMAND] if settings.notify_command else []
    names += map(apprise_name, settings.notify_apprise_urls)
    return [*names, WEBHOOK] if settings.notify_webhook_url is not None else names


def journal_places(settings: Settings, database: Path | None, name: str = "claims") -> list[Path]:
    """Where the journal may be; `database` is the database's file, if it is one."""
    return places(settings.path, database, os.environ, name)
