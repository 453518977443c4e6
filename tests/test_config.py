"""One file and the environment: read right, or everything wrong with them told at once."""

from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path

import pytest

from feedwatch.config.errors import ConfigError
from feedwatch.config.keys import FeedKeys, Keys, Settings
from feedwatch.config.load import load
from feedwatch.config.locate import find_file
from feedwatch.core.settings import (
    FeedConfig,
    FirstRun,
    FutureDated,
    OnReplaced,
    OnUnknown,
    Policy,
    Rules,
    ServeRules,
)

KEY = "FEEDWATCH_API_KEY=s3cret\n"
FEED = "FEEDWATCH_FEEDS__SHOW__URL=https://h.example/feed\nFEEDWATCH_FEEDS__SHOW__PODCAST_ID=p-1\n"


def read(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "config.env"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environ)
    return caught.value.problems


def only_problem(tmp_path: Path, line: str) -> str:
    found = problems(tmp_path, KEY + FEED + line)
    assert len(found) == 1, found
    return found[0]


# What is right


def test_the_least_config_has_the_promised_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, KEY + FEED)
    (source,) = settings.sources
    assert (source.name, source.podcast_id) == ("show", "p-1")
    assert source.check_interval == timedelta(minutes=15)
    assert source.rules.first_run == FirstRun()
    assert source.rules.flood_limit == 5
    assert source.rules.on_replaced is OnReplaced.HOLD
    assert source.rules.episode_types == {"full", "bonus", "trailer"}
    assert source.rules.media_types == ("audio/*", "video/*")
    assert source.ad_options is None
    policy = settings.policy
    assert (policy.poll_interval, policy.job_deadline) == (
        timedelta(seconds=30),
        timedelta(hours=24),
    )
    assert (policy.max_concurrent_jobs, policy.max_submissions_per_day) == (4, 100)
    assert policy.on_unknown is OnUnknown.HOLD
    assert (source.future_dated, source.submit_delay) == (FutureDated.WAIT, timedelta())
    assert settings.api_url == "https://api.studio.inlet.fm"


def test_every_setting_of_the_parts_has_its_key() -> None:
    def names(kind: type[FeedConfig | Policy | Rules | ServeRules]) -> set[str]:
        return {field.name for field in fields(kind)}

    assert names(Policy) <= Keys.model_fields.keys()
    made = {"name", "rules", "future_dated", "serving", "is_private"}
    own = names(FeedConfig) - made | names(Rules) | names(ServeRules)
    assert own == FeedKeys.model_fields.keys()


def test_a_feeds_own_settings_go_before_the_global_ones(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        KEY
        + FEED
        + "FEEDWATCH_FLOOD_LIMIT=9\nFEEDWATCH_FIRST_RUN=all\nFEEDWATCH_CHECK_INTERVAL=6h\n"
        "FEEDWATCH_FEEDS__SHOW__FLOOD_LIMIT=0\nFEEDWATCH_FEEDS__SHOW__FIRST_RUN=since:2024-02-29\n"
        "FEEDWATCH_FEEDS__SHOW__CHECK_INTERVAL=90s\n"
        "FEEDWATCH_FUTURE_DATED=submit\nFEEDWATCH_SUBMIT_DELAY=10m\n"
        "FEEDWATCH_FEEDS__SHOW__SUBMIT_DELAY=0s\n",
    )
    (source,) = settings.sources
    assert source.rules.flood_limit == 0
    assert source.rules.first_run == FirstRun(since=date(2024, 2, 29))
    assert source.check_interval == timedelta(seconds=90)
    assert (source.future_dated, source.submit_delay) == (FutureDated.SUBMIT, timedelta())


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("2d", timedelta(days=2)),
        ("0.5h", timedelta(minutes=30)),
    ],
)
def test_durations_have_a_unit(tmp_path: Path, text: str, length: timedelta) -> None:
    settings = read(tmp_path, KEY + FEED + f"FEEDWATCH_JOB_DEADLINE={text}\n")
    assert settings.policy.job_deadline == length


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, KEY + FEED, FEEDWATCH_API_URL="http://127.0.0.1:1", HOME="/")
    assert settings.api_url == "http://127.0.0.1:1"


def test_an_empty_value_is_as_good_as_none(tmp_path: Path) -> None:
    settings = read(tmp_path, KEY + FEED + "FEEDWATCH_FLOOD_LIMIT=\n")
    assert settings.sources[0].rules.flood_limit == 5


def test_a_relative_database_lies_beside_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, KEY + FEED + "FEEDWATCH_DATABASE_URL=sqlite:///data/x.db\n")
    assert settings.database_url == f"sqlite:///{tmp_path}/data/x.db"
    absolute = "sqlite:////var/lib/feedwatch/feedwatch.db"
    settings = read(tmp_path, KEY + FEED + f"FEEDWATCH_DATABASE_URL={absolute}\n")
    assert settings.database_url == absolute


def test_a_dollar_sign_is_a_dollar_sign(tmp_path: Path) -> None:
    line = "FEEDWATCH_FEEDS__SHOW__USERNAME=u\nFEEDWATCH_FEEDS__SHOW__PASSWORD=a${HOME}b\n"
    assert read(tmp_path, KEY + FEED + line).sources[0].password == "a${HOME}b"


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_bytes(b"\xef\xbb\xbf" + (KEY + FEED).replace("\n", "\r\n").encode())
    assert load(path, {}).sources[0].podcast_id == "p-1"


@pytest.mark.parametrize("name", ["SHOW", "my_show", "My-Show2"])
def test_feeds_are_named_in_lower_case(tmp_path: Path, name: str) -> None:
    text = KEY + FEED.replace("SHOW", name)
    assert read(tmp_path, text).sources[0].name == name.lower()


# adOptions

AD = "FEEDWATCH_FEEDS__SHOW__AD_OPTIONS"


def test_ad_options_are_passed_on_as_they_stand(tmp_path: Path) -> None:
    options = (
        '{"preRoll": {"adCount": 1, "minDuration": 15, "maxDuration": 30.5}, '
        '"automatedMidRolls": {"adCount": 2, "adsPerHour": 2}, '
        '"midRolls": [{"adCount": 1, "time": 5}], "postRoll": {"adCount": 0}}'
    )
    assert read(tmp_path, KEY + FEED + f"{AD}={options}\n").sources[0].ad_options == {
        "preRoll": {"adCount": 1, "minDuration": 15, "maxDuration": 30.5},
        "automatedMidRolls": {"adCount": 2, "adsPerHour": 2},
        "midRolls": [{"adCount": 1, "time": 5}],
        "postRoll": {"adCount": 0},
    }


def test_ad_options_may_be_given_key_by_key_on_top_of_json(tmp_path: Path) -> None:
    lines = (
        f'{AD}={{"preRoll": {{"adCount": 1}}}}\n{AD}__PRE_ROLL__AD_COUNT=3\n'
        f"{AD}__MID_ROLLS__1__AD_COUNT=2\n{AD}__MID_ROLLS__1__TIME=90.5\n"
        f"{AD}__MID_ROLLS__0__AD_COUNT=1\n{AD}__MID_ROLLS__0__TIME=5\n"
    )
    assert read(tmp_path, KEY + FEED + lines).sources[0].ad_options == {
        "preRoll": {"adCount": 3},
        "midRolls": [{"adCount": 1, "time": 5}, {"adCount": 2, "time": 90.5}],
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ('{"preRoll": {}}', "preRoll.adCount: is required"),
        ('{"preRoll": {"adCount": -1}}', "preRoll.adCount=-1: expected a number, zero or more"),
        ('{"preRoll": {"adCount": 1.5}}', "expected a whole number"),
        ('{"preRoll": {"adCount": true}}', "expected a number"),
        ('{"preRoll": {"adCount": "1"}}', "expected a number"),
        ('{"preRoll": {"adCount": 1, "minDuration": NaN}}', "expected a number"),
        ('{"preRoll": {"adCount": 1, "minDuration": 9, "maxDuration": 8}}', "at most maxDuration"),
        ('{"preRoll": {"adCount": 1, "time": 5}}', "no such field"),
        ('{"preroll": {"adCount": 1}}', "no such field; did you mean preRoll?"),
        ('{"preRoll": {"adCount": 1, "minduration": 1}}', "; did you mean minDuration?"),
        ('{"midRolls": [{"adCount": 1, "time": 1, "timed": 1}]}', "; did you mean time?"),
        ('{"midRolls": [{"adCount": 1}]}', "midRolls.0.time: is required"),
        ('{"midRolls": {"adCount": 1, "time": 1}}', "midRolls"),
        (
            '{"automatedMidRolls": {"adCount": 1, "insertionCount": 2, "adsPerHour": 2}}',
            "insertionCount or adsPerHour, not both",
        ),
        ("[]", "expected a JSON object"),
        ("{", "expected a JSON object"),
    ],
)
def test_ad_options_are_held_against_the_contract(tmp_path: Path, options: str, says: str) -> None:
    problem = only_problem(tmp_path, f"{AD}={options}\n")
    assert problem.startswith(AD)
    assert says in problem


# What is wrong


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = "\n".join(
        problems(
            tmp_path,
            "FEEDWATCH_POLL_INTERVAL=5s\nFEEDWATCH_CHECK_INTERVAL=often\nnonsense\n"
            "FEEDWATCH_FEEDS__SHOW__URL=feed.xml\nFEEDWATCH_FLOOD_LIMITS=3\n"
            "FEEDWATCH_FEEDS__OTHER__URL=https://h/x\n",
        )
    )
    for part in (
        "FEEDWATCH_API_KEY is missing",
        "FEEDWATCH_POLL_INTERVAL='5s': expected 30s or more",
        "FEEDWATCH_CHECK_INTERVAL='often': expected a number and a unit",
        "line 3: expected KEY=value",
        "FEEDWATCH_FEEDS__SHOW__URL='feed.xml': expected an address",
        "FEEDWATCH_FEEDS__SHOW__PODCAST_ID is missing",
        "FEEDWATCH_FLOOD_LIMITS: nothing reads this key; did you mean FEEDWATCH_FLOOD_LIMIT?",
        "FEEDWATCH_FEEDS__OTHER__PODCAST_ID is missing",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (
            "FEEDWATCH_SERVE_FEEDS=true",
            ["FEEDWATCH_PUBLIC_LISTEN and FEEDWATCH_PUBLIC_URL beside it"],
        ),
        (
            "FEEDWATCH_WEB_USER_HEADER=X-User\nFEEDWATCH_WEB_PASSWORD=correct horse battery",
            [
                (
                    "FEEDWATCH_LISTEN beside it, and FEEDWATCH_WEB_TRUSTED_PROXIES beside it, and "
                    "no FEEDWATCH_WEB_PASSWORD beside it: keep one of the two"
                ),
                "FEEDWATCH_LISTEN beside it",
            ],
        ),
    ],
)
def test_all_that_one_key_needs_beside_it_is_told_at_once(
    tmp_path: Path, lines: str, wanted: list[str]
) -> None:
    found = problems(tmp_path, KEY + FEED + lines)
    assert sorted(text.partition(": expected ")[2] for text in found) == sorted(wanted)


@pytest.mark.parametrize(
    ("listen", "public", "is_one"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464", True),
        ("localhost:9464", "127.0.0.1:9464", True),
        (":9464", "127.0.0.1:9464", True),
        ("[::1]:9464", ":9464", True),
        ("0.0.0.0:9464", "192.0.2.1:9464", True),
        ("[::]:9464", "192.0.2.1:9464", False),
        ("127.0.0.1:9464", "127.0.0.1:9465", False),
        ("127.0.0.1:9464", "192.0.2.1:9464", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_one_port_of_one_address_is_not_given_twice(
    tmp_path: Path, listen: str, public: str, is_one: bool
) -> None:
    lines = f"FEEDWATCH_LISTEN={listen}\nFEEDWATCH_PUBLIC_LISTEN={public}\n"
    told = f"FEEDWATCH_PUBLIC_LISTEN={public!r}: expected another address or port than"
    try:
        read(tmp_path, KEY + FEED + lines)
        found = []
    except ConfigError as error:
        found = error.problems
    assert [text.startswith(told) for text in found] == [True] * is_one


def test_that_no_feed_is_there_is_told_beside_what_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_text("FEEDWATCH_API_KEY=your-key-here\nFEEDWATCH_FLOOD_LIMIT=x\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {}, to_watch=True)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    for part in ("no feed is configured", "FLOOD_LIMIT='x'", "FEEDWATCH_API_KEY is a placeholder"):
        assert part in told


@pytest.mark.parametrize("key", ["your-key-here", "your-key", "YOUR_API_KEY", "abc123", "<key>"])
def test_a_placeholder_is_no_key_to_watch_with_but_at_an_api_on_this_machine(
    tmp_path: Path, key: str
) -> None:
    path = tmp_path / "config.env"
    path.write_text(f"FEEDWATCH_API_KEY={key}\n{FEED}")
    with pytest.raises(ConfigError, match="FEEDWATCH_API_KEY is a placeholder: set your key"):
        load(path, {}, to_watch=True)
    assert load(path, {}).api_key
    assert load(path, {}, needs_key=False, to_watch=True).sources
    assert load(path, {"FEEDWATCH_API_URL": "http://127.0.0.1:8010"}, to_watch=True).api_key


def test_a_key_beside_another_one_is_named_with_its_feed(tmp_path: Path) -> None:
    password = only_problem(tmp_path, "FEEDWATCH_FEEDS__SHOW__PASSWORD=x")
    assert password.endswith(": expected FEEDWATCH_FEEDS__SHOW__USERNAME beside it")


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("FEEDWATCH_POLL_INTERVALL=30s", "FEEDWATCH_POLL_INTERVAL?"),
        ("FEEDWACH_API_KEY=x", "FEEDWATCH_API_KEY?"),
        ("FEEDWATCH_FEEDS__SHOW__PODCASTID=x", "FEEDWATCH_FEEDS__SHOW__PODCAST_ID?"),
        ("FEEDWATCH_FEEDS__SHOW__URL__X=1", "FEEDWATCH_FEEDS__SHOW__URL?"),
        ("FEEDWATCH_FEEDS_SHOW_URL=1", "FEEDWATCH_FEEDS__"),
        ("feedwatch_api_url=http://h", "FEEDWATCH_"),
    ],
)
def test_a_key_that_nothing_reads_names_the_nearest_right_one(
    tmp_path: Path, line: str, nearest: str
) -> None:
    problem = only_problem(tmp_path, line + "\n")
    assert problem.startswith(line.partition("=")[0] + ": nothing reads this key")
    assert nearest in problem


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("FEEDWATCH_CHECK_INTERVAL=0s", "more than zero"),
        ("FEEDWATCH_CHECK_INTERVAL=999999999999d", "at most 365d"),
        ("FEEDWATCH_POLL_INTERVAL=3d", "at most 1d"),
        ("FEEDWATCH_API_URL=https://u:hush@api.example", "no user and password"),
        ("FEEDWATCH_API_URL=https://api.example:port", "names a host"),
        ("FEEDWATCH_FEEDS__SHOW__USER_AGENT=caf\xe9", "ASCII"),
        ("FEEDWATCH_FEEDS__SHOW__AD_OPTIONS=" + "[" * 100_000, "JSON object"),
        ("FEEDWATCH_FEEDS__Show__FLOOD_LIMIT=3", "spell it one way"),
        ("FEEDWATCH_CHECK_INTERVAL=15", "a number and a unit"),
        ("FEEDWATCH_MAX_CONCURRENT_JOBS=0", "one or more"),
        ("FEEDWATCH_MAX_SUBMISSIONS_PER_DAY=-3", "one or more"),
        ("FEEDWATCH_FIRST_RUN=latest", "none, latest:N, since:YYYY-MM-DD or all"),
        ("FEEDWATCH_FIRST_RUN=since:2024-02-30", "since:YYYY-MM-DD"),
        ("FEEDWATCH_ON_REPLACED=maybe", "ignore or hold or submit"),
        ("FEEDWATCH_ON_UNKNOWN=retry", "hold or resubmit"),
        ("FEEDWATCH_FUTURE_DATED=hold", "wait or submit"),
        ("FEEDWATCH_SUBMIT_DELAY=10", "a number and a unit"),
        ("FEEDWATCH_FEEDS__SHOW__SUBMIT_DELAY=s", "a number and a unit"),
        ("FEEDWATCH_LOG_LEVEL=loud", "debug or info or warning or error"),
        ("FEEDWATCH_API_URL=https://api.example/api/v1", "the host only, https://api.example"),
        ("FEEDWATCH_API_URL=api.example", "begins with http"),
        ("FEEDWATCH_DATABASE_URL=feedwatch.db", "SQLAlchemy URL"),
        ("FEEDWATCH_FEEDS__SHOW__INCLUDE_TITLE=(", "regular expression"),
        ("FEEDWATCH_FEEDS__SHOW__EPISODE_TYPES=full,extra", "full, bonus, trailer"),
        ("FEEDWATCH_FEEDS__SHOW__MEDIA_TYPES=mp3", "media types"),
        ("FEEDWATCH_FEEDS__SHOW__HEADERS=X: y", "JSON object"),
        ("FEEDWATCH_FEEDS__SHOW__PASSWORD=x", "USERNAME"),
        ("FEEDWATCH_FEEDS__A.B__URL=http://h/x", "letters, digits"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_was_expected(
    tmp_path: Path, line: str, says: str
) -> None:
    problem = only_problem(tmp_path, line + "\n")
    assert problem.startswith(line.partition("=")[0])
    assert says in problem


def feed_at(name: str, host: str) -> str:
    block = f"FEEDWATCH_FEEDS__{name}__"
    return f"{block}URL=http://{host}/feed\n{block}PODCAST_ID={name}\n"


PUBLIC_HOSTS = ["8.8.8.8", "[2606:4700::1]", "localhost.example.com", "nas", "134744072:8080"]
PRIVATE_HOSTS = ["127.0.0.1:8011", "[::1]", "localhost", "10.1.2.3", "[fd00::1]", "192.168.0.9"]


@pytest.mark.parametrize("key", ["CHECK_INTERVAL", "FEEDS__OTHER__CHECK_INTERVAL"])
@pytest.mark.parametrize("host", PUBLIC_HOSTS)
def test_a_public_host_is_asked_once_a_minute_at_most(tmp_path: Path, host: str, key: str) -> None:
    feed = KEY + feed_at("OTHER", host)
    (problem,) = problems(tmp_path, feed + f"FEEDWATCH_{key}=59s\n")
    assert problem.startswith(f"FEEDWATCH_{key}='59s': expected 1m or more for the feed 'other'")
    read(tmp_path, feed + f"FEEDWATCH_{key}=60s\n")


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_a_private_host_may_be_asked_more_often(tmp_path: Path, host: str) -> None:
    (source,) = read(
        tmp_path, KEY + feed_at("OTHER", host) + "FEEDWATCH_CHECK_INTERVAL=1s\n"
    ).sources
    assert source.check_interval == timedelta(seconds=1)


def test_an_interval_of_many_feeds_is_one_problem_and_a_feeds_own_one_counts(
    tmp_path: Path,
) -> None:
    feeds = FEED + feed_at("B", "b.example") + feed_at("C", "c.example") + feed_at("D", "10.0.0.1")
    text = KEY + feeds + "FEEDWATCH_CHECK_INTERVAL=5s\nFEEDWATCH_FEEDS__C__CHECK_INTERVAL=1h\n"
    (problem,) = problems(tmp_path, text)
    assert "for the feed 'b' and 1 other, on a public host" in problem


def test_a_short_interval_is_told_beside_what_else_is_wrong(tmp_path: Path) -> None:
    text = KEY + FEED + "FEEDWATCH_CHECK_INTERVAL=5s\nFEEDWATCH_FLOOD_LIMIT=x\n"
    assert len(problems(tmp_path, text)) == 2


def test_a_podcast_id_that_is_no_path_segment_is_refused(tmp_path: Path) -> None:
    text = KEY + FEED.replace("p-1", "../p")
    (problem,) = problems(tmp_path, text)
    assert "FEEDWATCH_FEEDS__SHOW__PODCAST_ID='../p': expected an id" in problem


def test_two_feeds_that_would_pay_twice_are_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, KEY + FEED + FEED.replace("SHOW", "TWIN"))
    assert "submitted twice" in problem


@pytest.mark.parametrize(
    "spelling",
    [
        "http://h.example/feed",
        "https://H.Example/feed",
        "https://h.example:443/feed",
        "https://h.example./feed",
        "https://h.example/f%65ed",
        "https://h.example/feed#top",
    ],
)
def test_two_spellings_of_one_feed_are_warned_of(tmp_path: Path, spelling: str) -> None:
    twin = FEED.replace("SHOW", "TWIN").replace("https://h.example/feed", spelling)
    (warning,) = read(tmp_path, KEY + FEED + twin).warnings
    assert warning.startswith("FEEDWATCH_FEEDS__TWIN__URL is another spelling of")
    assert "'show'" in warning
    assert "paid for only once" in warning
    (warning,) = read(tmp_path, KEY + FEED + twin.replace("p-1", "p-2")).warnings
    assert "paid for twice" in warning


@pytest.mark.parametrize(
    "other",
    [
        "https://h.example/feed",  # spelt alike on purpose, for two podcasts
        "https://h.example/Feed",
        "https://h.example:8443/feed",
        "https://h.example/feed?show=2",
        "https://me:secret@h.example/feed",
    ],
)
def test_other_addresses_are_not_warned_of(tmp_path: Path, other: str) -> None:
    twin = FEED.replace("SHOW", "TWIN").replace("https://h.example/feed", other)
    assert read(tmp_path, KEY + FEED + twin.replace("p-1", "p-2")).warnings == ()


def test_a_key_set_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, "FEEDWATCH_API_KEY=other\n")
    assert "line 4: FEEDWATCH_API_KEY is set on line 1 already" in problem


def test_polls_may_be_frequent_only_on_this_machine(tmp_path: Path) -> None:
    fast = KEY + FEED + "FEEDWATCH_POLL_INTERVAL=0.1s\n"
    for host in ("127.0.0.1:80", "localhost", "[::1]:8080"):
        settings = read(tmp_path, fast + f"FEEDWATCH_API_URL=http://{host}\n")
        assert settings.policy.poll_interval == timedelta(seconds=0.1)
    for host in ("10.0.0.1", "127.0.0.1.example", "localhost.example"):
        assert problems(tmp_path, fast + f"FEEDWATCH_API_URL=http://{host}\n")


# Secrets


def test_no_secret_is_in_an_error_or_a_repr(tmp_path: Path) -> None:
    secrets = (
        "FEEDWATCH_FEEDS__SHOW__USERNAME=u\nFEEDWATCH_FEEDS__SHOW__PASSWORD=hush1\n"
        'FEEDWATCH_FEEDS__SHOW__HEADERS={"X": "hush2"}\n'
    )
    url = FEED.replace("https://h.example/feed", "https://u:hush3@h.example/feed?token=hush4")
    shown = repr(read(tmp_path, KEY + url + secrets))
    shown += "".join(
        problems(
            tmp_path,
            "FEEDWATCH_API_KEY=hush5 s3cret\nFEEDWATCH_FEEDS__SHOW__PASSWORD=hush1\n"
            "FEEDWATCH_FEEDS__SHOW__HEADERS=hush2\n"
            "FEEDWATCH_FEEDS__SHOW__URL=ftp://u:hush3@h/?token=hush4\n",
        )
    )
    for url in (
        "http://u:hush6#x@h/",
        "http://u:hush7/x@h/",
        "ftp://u:hush8/p@h",
        "http://h:hush9/",
    ):
        shown += "".join(problems(tmp_path, f"FEEDWATCH_FEEDS__SHOW__URL={url}\n")).replace(
            "http://h:hush9/",
            "",  # no password, and it must be told what is wrong
        )
    for line in ("FEEDWATCH_API_KEY: hush10", "FEEDWATCH_API_KEY hush11", "hush12hush12hush12==\n"):
        shown += "".join(problems(tmp_path, line))
    assert "hush" not in shown
    assert "s3cret" not in shown


def test_the_key_may_lie_in_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  from-file\n", encoding="utf-8")
    settings = read(tmp_path, FEED + "FEEDWATCH_API_KEY_FILE=key\n")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from-file"


def test_the_key_may_be_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "feedwatch_api_key").write_text("from-systemd\n", encoding="utf-8")
    settings = read(tmp_path, FEED, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from-systemd"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("FEEDWATCH_API_KEY_FILE=nowhere\n", "FEEDWATCH_API_KEY_FILE='nowhere': there is no"),
        (KEY + "FEEDWATCH_API_KEY_FILE=key\n", "both set"),
        ("", "FEEDWATCH_API_KEY is missing"),
    ],
)
def test_a_key_that_is_not_there_is_told(tmp_path: Path, lines: str, says: str) -> None:
    (problem,) = problems(tmp_path, FEED + lines)
    assert says in problem


def test_a_verb_that_needs_no_key_does_without(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_text(FEED, encoding="utf-8")
    assert load(path, {}, needs_key=False).api_key is None


def test_a_file_that_everybody_can_read_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "config.env"
    path.write_text(KEY + FEED, encoding="utf-8")
    path.chmod(0o644)
    (warning,) = load(path, {}).warnings
    assert f"chmod o-r {path}" in warning
    path.chmod(0o640)
    assert load(path, {}).warnings == ()


# Which file


def test_the_file_is_the_one_given_else_the_one_in_the_environment_else_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given, named = tmp_path / "given.env", tmp_path / "named.env"
    for path in (given, named, tmp_path / "config.env"):
        path.touch()
    environ = {"FEEDWATCH_CONFIG": str(named)}
    assert find_file(given, environ) == given
    assert find_file(None, environ) == named
    assert find_file(None, {}) == Path("config.env")


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.env"
    with pytest.raises(ConfigError, match=r"there is no config file .*; see --config, or write"):
        find_file(nowhere, {})
    with pytest.raises(ConfigError, match="see FEEDWATCH_CONFIG, or write it by `feedwatch init`"):
        find_file(None, {"FEEDWATCH_CONFIG": str(nowhere)})
