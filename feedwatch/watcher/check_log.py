"""The log lines of a check."""

import logging
from collections.abc import Sequence

from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.feed import (
    Feed,
)

log = logging.getLogger(__name__)


def log_check(before: Feed, after: Feed, decisions: Sequence[Decision]) -> None:
    """One line where there is something to say, and none for a check like the one before."""
    _log_address(before, after)
    if after.error is not None:
        if after.error != before.error:
            log.warning("feed %s: %s", after.name, after.error, extra={"feed": after.name})
        return
    if before.error is not None:
        log.info("feed %s: works again", after.name, extra={"feed": after.name})
    _log_silence(before, after)
    counts = {
        verdict: sum(decision.verdict is verdict and decision.is_episode for decision in decisions)
        for verdict in (Verdict.SUBMIT, Verdict.HOLD, Verdict.SKIP)
    }
    if not any(counts.values()):
        return
    log.log(
        logging.WARNING if counts[Verdict.HOLD] else logging.INFO,
        "feed %s: %d new to submit, %d held, %d skipped",
        after.name,
        *counts.values(),
        extra={"feed": after.name},
    )
    if counts[Verdict.HOLD]:
        reason = next(d.reason for d in decisions if d.verdict is Verdict.HOLD)
        log.warning(
            "feed %s: %s; `feedwatch approve --feed %s` or `skip --feed %s` settles it",
            *(after.name, reason, after.name, after.name),
            extra={"feed": after.name},
        )


def _log_address(before: Feed, after: Feed) -> None:
    if before.moved_url == after.moved_url:
        return
    if after.moved_url is None:
        log.warning(
            "feed %s: no more at the address it had moved to, %s; asked for again where the config "
            "says",
            *(after.name, before.moved_url),
            extra={"feed": after.name},
        )
    else:
        log.warning(
            "feed %s: has moved for good and is asked for at %s from now on; set "
            "FEEDWATCH_FEEDS__%s__URL to it",
            *(after.name, after.moved_url, after.name.upper()),
            extra={"feed": after.name},
        )


def _log_silence(before: Feed, after: Feed) -> None:
    if after.silent_since is not None and before.silent_since is None:
        log.warning(
            "feed %s: answers, but nothing new has come for much longer than is usual for it; has "
            "it ended or moved?",
            after.name,
            extra={"feed": after.name},
        )
    elif before.silent_since is not None and after.silent_since is None:
        log.info("feed %s: brings episodes again", after.name, extra={"feed": after.name})
