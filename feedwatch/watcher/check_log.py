"""The log lines of a check."""

import logging
from collections.abc import Sequence
from functools import partial

from feedwatch.core.admission import Decision, Verdict
from feedwatch.core.feed import ErrorKind, Feed
from feedwatch.core.json_forms import stamp
from feedwatch.core.remarks import remark_in_words
from feedwatch.core.settings import feed_key

log = logging.getLogger(__name__)


def log_check(before: Feed, after: Feed, decisions: Sequence[Decision]) -> None:
    """Log what a check has changed, each change once; nothing for a check like the last one."""
    name, extra = after.name, {"feed": after.name}
    info, warning = partial(log.info, extra=extra), partial(log.warning, extra=extra)
    if after.moved_url is None and before.moved_url is not None:
        warning(
            "feed %s: no more at the URL it had moved to, %s; the configured URL is used again",
            *(name, before.moved_url),
        )
    elif after.moved_url != before.moved_url:
        warning(
            "feed %s: has moved for good and is fetched from %s from now on; set %s to it",
            *(name, after.moved_url, feed_key(name, "URL")),
        )
    if after.error is not None:
        if after.error != before.error:
            again = (
                "looked at" if after.error_kind is ErrorKind.GONE else "tried"
            )  # a person mends it
            warning("feed %s: %s; %s again at %s", name, after.error, again, stamp(after.due_at))
        return
    if before.error is not None:
        info("feed %s: works again", name)
    if after.silent_since is not None and before.silent_since is None:
        warning(
            "feed %s: answers, but nothing new has come for much longer than is usual for it; has "
            "it ended or moved?",
            name,
        )
    elif before.silent_since is not None and after.silent_since is None:
        info("feed %s: brings episodes again", name)
    known = {remark.kind for remark in before.remarks or ()}
    for remark in after.remarks or ():
        if remark.kind not in known:
            warning("feed %s: %s", name, remark_in_words(remark, name))
    submit, hold, skip = (
        sum(one.verdict is verdict and one.is_episode for one in decisions)
        for verdict in (Verdict.SUBMIT, Verdict.HOLD, Verdict.SKIP)
    )
    if submit or hold or skip:
        tell = warning if hold else info
        tell("feed %s: %d new to submit, %d held, %d skipped", name, submit, hold, skip)
    if hold:
        reason = next(one.reason for one in decisions if one.verdict is Verdict.HOLD)
        warning(
            "feed %s: %s; decide by `feedwatch approve --feed %s` or `feedwatch skip --feed %s`",
            *(name, reason, name, name),
        )
