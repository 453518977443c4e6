"""Settings in words."""

from collections.abc import Iterator

from feedwatch.core.health import spoken
from feedwatch.core.pipeline import ADS_ALONE
from feedwatch.core.printable import counted
from feedwatch.core.settings import FeedConfig, FutureDated, OnReplaced, OnUnknown, Policy, Rules

PLAIN = FeedConfig(name="", url="")
ON_UNKNOWN = {
    OnUnknown.HOLD: "A submission that may or may not have been taken waits for a person.",
    OnUnknown.RESUBMIT: "A submission that may or may not have been taken is sent again after an "
    "hour, at the risk of paying twice.",
}
FUTURE_DATED = {
    FutureDated.WAIT: "An item dated ahead of now waits for its date.",
    FutureDated.SUBMIT: "An item dated ahead of now is submitted at once.",
}
ON_REPLACED = {
    OnReplaced.IGNORE: "Audio that is replaced under a known episode is ignored.",
    OnReplaced.HOLD: "Audio that is replaced under a known episode is held.",
    OnReplaced.SUBMIT: "Audio that is replaced under a known episode is submitted.",
}


def policy_in_words(policy: Policy) -> list[str]:
    """The limits of all submissions and jobs."""
    return [
        f"In any 24 hours at most {counted(policy.max_submissions_per_day, 'submission')} in all.",
        f"At most {counted(policy.max_concurrent_jobs, 'job')} at once.",
        f"A job is polled every {spoken(policy.poll_interval)}, more slowly as it gets older.",
        f"A job that is not final after {spoken(policy.job_deadline)} is overdue, and polled on.",
        ON_UNKNOWN[policy.on_unknown],
    ]


def feed_in_words(config: FeedConfig) -> list[str]:
    """What is submitted of a feed, and how often it is checked."""
    return [
        f"Checked every {spoken(config.check_interval)}.",
        *([f"Its episodes go to the podcast {config.podcast_id}."] if config.podcast_id else []),
        *(
            [f"The steps of each episode: {_steps(config)}."]
            if config.pipeline != ADS_ALONE
            else []
        ),
        *_rules(config.rules),
        FUTURE_DATED[config.future_dated],
        *(
            [f"A new item waits for {spoken(config.submit_delay)} before it is submitted."]
            if config.submit_delay
            else []
        ),
        *(["Ad options of its own are asked for."] if config.ad_options else []),
        *(
            ["Options of its own are asked for to enhance it."]
            if config.enhance != PLAIN.enhance
            else []
        ),
        *(["It is read with a user name and a password."] if config.username else []),
        *(["It is read with header fields of its own."] if config.headers else []),
        *([f"It is read as {config.user_agent}."] if config.user_agent else []),
    ]


def _steps(config: FeedConfig) -> str:
    return ", ".join(
        f"{one.step.value}{' (may fail)' if one.optional else ''}" for one in config.pipeline
    )


def _rules(rules: Rules) -> Iterator[str]:
    first = rules.first_run
    if first.everything:
        yield "At the first check all items were submitted."
    elif first.latest:
        yield f"Submitted at the first check: the latest {counted(first.latest, 'item')}."
    elif first.since is not None:
        yield f"At the first check items since {first.since} were submitted."
    else:
        yield "At the first check nothing was submitted."
    yield f"More than {counted(rules.flood_limit, 'new item')} in one check are all held."
    yield ON_REPLACED[rules.on_replaced]
    yield f"Of the types {', '.join(sorted(rules.episode_types))}."
    yield f"Enclosures of the types {', '.join(rules.media_types)} count."
    if rules.include_title is not None:
        yield f"Only titles in which {rules.include_title.pattern} is found."
    if rules.exclude_title is not None:
        yield f"No titles in which {rules.exclude_title.pattern} is found."
    if rules.min_duration is not None:
        yield f"Nothing shorter than {spoken(rules.min_duration)}."
    if rules.max_duration is not None:
        yield f"Nothing longer than {spoken(rules.max_duration)}."
