"""What the documentation says about the code is true, as far as a program can tell."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import click
import pytest

from feedwatch.cli.verbs import VERBS, verb
from feedwatch.config.key_names import (
    HEARTBEAT_URL_KEY,
    KEY_FILE_KEY,
    KEY_KEY,
    MEDIAAPIS_SECRET_KEYS,
    PREFIX,
    WEB_SECRET_KEYS,
    WEBHOOK_SECRET_FILE_KEY,
    WEBHOOK_SECRET_KEY,
)
from feedwatch.config.keys import FEED_FIELDS, TOP_KEYS, FeedKeys, Keys, Settings
from feedwatch.config.load import load
from feedwatch.sandbox.faults import Kind
from feedwatch.sandbox.server import Sandbox
from tests.support import PATIENCE

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLE = ROOT / "config.example.env"

FEED_PREFIX = f"{PREFIX}FEEDS__NAME__"
FEED_KEYS = {FEED_PREFIX + name: field for name, field in FEED_FIELDS.items()}
LEAST = {
    KEY_KEY: "key",
    f"{FEED_PREFIX}URL": "https://example.com/feed.xml",
    f"{FEED_PREFIX}PODCAST_ID": "podcast-1",
}

OF_FILES = (*WEB_SECRET_KEYS, HEARTBEAT_URL_KEY, *MEDIAAPIS_SECRET_KEYS)
FILE_KEYS = (KEY_FILE_KEY, WEBHOOK_SECRET_FILE_KEY, *(f"{key}_FILE" for key in OF_FILES))

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
ROW = re.compile(r"^\| `(FEEDWATCH_\w+)` \| (.+?) \|(.*?)\| `(.+)` \|$", re.MULTILINE)
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.-])/(?:home|Users|root|work)/[\w.-]+(?=/)")


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


# The keys


class Documented(NamedTuple):
    key: str
    default: str
    meaning: str
    example: str


def documented() -> list[Documented]:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    return [Documented(*row) for row in ROW.findall(text)]


def default_of(key: str) -> Any:
    """What the code has where the key is not set; ... where it must be."""
    if key in (KEY_KEY, *FILE_KEYS):
        return ... if key == KEY_KEY else None
    model, name = (Keys, TOP_KEYS[key]) if key in TOP_KEYS else (FeedKeys, FEED_KEYS[key])
    field = model.model_fields[name]
    return ... if field.is_required() else field.get_default()


def understood(key: str, text: str) -> Any:
    """What the code makes of a value."""
    name = TOP_KEYS.get(key)
    if name is not None:
        return getattr(Keys.model_validate({name: text}), name)
    feed = {"url": LEAST[f"{FEED_PREFIX}URL"], "podcast_id": "p", FEED_KEYS[key]: text}
    return getattr(FeedKeys.model_validate(feed), FEED_KEYS[key])


def read(folder: Path, lines: Mapping[str, str]) -> Settings:
    path = folder / "config.env"
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()), encoding="utf-8")
    path.chmod(0o600)
    return load(path, {})


def test_every_key_is_documented_once_and_no_other() -> None:
    keys = [row.key for row in documented()]
    assert len(keys) == len(set(keys))
    assert set(keys) == {KEY_KEY, *FILE_KEYS, *TOP_KEYS, *FEED_KEYS}


@pytest.mark.parametrize("row", documented(), ids=lambda row: row.key)
def test_a_documented_default_is_the_codes(row: Documented) -> None:
    default = default_of(row.key)
    match row.default:
        case "required":
            assert default is ...
        case "none":
            assert not default
        case "the global one":
            assert default is None
            assert row.key.replace(FEED_PREFIX, PREFIX) in TOP_KEYS
        case text:
            assert understood(row.key, text.strip("`")) == default


def media_apis() -> dict[str, str]:
    """The keys that helper steps need, as in the examples."""
    theirs = (one for one in documented() if one.key.startswith(f"{PREFIX}MEDIAAPIS_"))
    return {one.key: one.example for one in theirs if not one.key.endswith("_FILE")}


@pytest.mark.parametrize("row", documented(), ids=lambda row: row.key)
def test_a_documented_example_is_taken(row: Documented, tmp_path: Path) -> None:
    lines = LEAST | (media_apis() if row.key.endswith("PIPELINE") else {}) | {row.key: row.example}
    if row.key == KEY_FILE_KEY:
        (tmp_path / row.example).write_text("key\n")
        del lines[KEY_KEY]
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    if row.key == WEBHOOK_SECRET_FILE_KEY:
        (tmp_path / row.example).write_text(f"{secret}\n")
    if row.key == f"{HEARTBEAT_URL_KEY}_FILE":
        (tmp_path / row.example).write_text("https://hc-ping.com/key\n")
    if row.key.startswith(f"{PREFIX}MEDIAAPIS_") and row.key.endswith("_FILE"):
        is_auth = "AUTH" in row.key
        (tmp_path / row.example).write_text('{"key": "k", "secret": "s"}' if is_auth else "word\n")
    if row.key.endswith("WEBHOOK_URL"):
        lines[WEBHOOK_SECRET_KEY] = secret
    if row.key.startswith((f"{PREFIX}PUBLIC_URL", f"{PREFIX}SERVE_FEEDS")):
        lines |= {f"{PREFIX}PUBLIC_LISTEN": ":0", f"{PREFIX}PUBLIC_URL": "https://example.com"}
    if row.key.startswith(f"{PREFIX}WEB_"):
        lines |= {f"{PREFIX}LISTEN": "127.0.0.1:9464"}
        if row.key.endswith("_FILE"):
            (tmp_path / row.example).write_text("correct-horse-battery-staple\n")
        if row.key.endswith("USER_HEADER"):
            lines[f"{PREFIX}WEB_TRUSTED_PROXIES"] = "127.0.0.1"
        if row.key.endswith("TRUSTED_PROXIES"):
            lines[f"{PREFIX}WEB_USER_HEADER"] = "X-User"
    elif row.key.endswith("PASSWORD"):
        lines[f"{FEED_PREFIX}USERNAME"] = "listener"
    read(tmp_path, lines)


def config_blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, (kind, text) in enumerate(FENCE.findall(page.read_text(encoding="utf-8"))):
            if kind in ("env", "dotenv"):
                yield pytest.param(text, id=f"{ids(page)}-{number}")


@pytest.mark.parametrize("block", list(config_blocks()))
def test_a_config_in_the_documentation_is_taken(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.env").write_text(block, encoding="utf-8")
    show = f"{PREFIX}FEEDS__SHOW__"
    rest = {}
    if not re.search(r"^FEEDWATCH_FEEDS__\w+__URL=", block, re.MULTILINE):
        rest = {f"{show}URL": "https://example.com/f", f"{show}PODCAST_ID": "p"}
    load(tmp_path / "config.env", rest, needs_key=False)


def test_both_spellings_of_the_ad_options_say_the_same(tmp_path: Path) -> None:
    blocks = [
        text
        for kind, text in FENCE.findall((ROOT / "docs/configuration.md").read_text("utf-8"))
        if kind == "env" and "AD_OPTIONS" in text
    ]
    show = f"{PREFIX}FEEDS__SHOW__"
    rest = {f"{show}URL": "https://example.com/f", f"{show}PODCAST_ID": "p"}
    options = []
    for block in blocks:
        (tmp_path / "config.env").write_text(block, encoding="utf-8")
        options.append(load(tmp_path / "config.env", rest, needs_key=False).sources[0].ad_options)
    assert len(options) == 2
    assert options[0] == options[1]


# The example


def uncommented(but: str = "nothing") -> str:
    text = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(rf"^# ?(?=FEEDWATCH_)(?!.*(?:{but}))", "", text, flags=re.MULTILINE)


def load_text(folder: Path, text: str) -> Settings:
    path = folder / "config.env"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path, {})


def test_the_example_is_taken_as_it_is(tmp_path: Path) -> None:
    assert len(load_text(tmp_path, EXAMPLE.read_text(encoding="utf-8")).sources) == 1


def test_the_example_is_taken_with_every_line_in_force(tmp_path: Path) -> None:
    assert uncommented() != EXAMPLE.read_text(encoding="utf-8")
    assert load_text(tmp_path, uncommented()).sources[0].ad_options is not None


def test_the_examples_commented_lines_are_the_defaults(tmp_path: Path) -> None:
    plain = load_text(tmp_path, EXAMPLE.read_text(encoding="utf-8"))
    full = load_text(tmp_path, uncommented(but="AD_OPTIONS|LISTEN"))
    assert replace(full, warnings=()) == replace(plain, warnings=())


# The command line


def commands() -> Iterator[tuple[str, str]]:
    """Each `feedwatch …` in a code span or a shell block, with its page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for kind, block in FENCE.findall(text):
            if kind in ("sh", "bash", "console"):
                lines = block.replace("\\\n", " ").splitlines()
                typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
                yield from ((ids(page), line) for line in (typed if kind == "console" else lines))
        yield from ((ids(page), span) for span in SPAN.findall(FENCE.sub("", text)))


CALL = r"(?:^|^sudo |[/\s]bin/|exec .* )feedwatch(?: --config \S+)? ([a-z]+)(?= |$)(.*)"


def called() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Page, verb and options, with the word that follows each, of each call."""
    for page, line in commands():
        for call in re.split(r"[|;&<>]+", line):
            found = re.search(CALL, call.strip())
            while found is not None and found[1] == "feedwatch":  # docker exec NAME feedwatch …
                found = re.search(r"^feedwatch(?: --config \S+)? ([a-z]+)(.*)", found[1] + found[2])
            if found is not None:
                yield page, found[1], re.findall(r"(?<!\S)(--[a-z-]+)(?: (\w+))?", found[2])


def test_every_verb_and_option_in_the_documentation_exists() -> None:
    calls = list(called())
    assert len({name for _, name, _ in calls}) > 10
    for page, name, options in calls:
        assert name in VERBS, f"{page}: feedwatch {name}"
        params = {opt: param for param in verb(name).params for opt in param.opts}
        for option, value in options:
            assert option in params, f"{page}: feedwatch {name} {option}"
            if isinstance(params[option].type, click.Choice):
                params[option].type.convert(value, params[option], None)  # or it raises


@pytest.mark.parametrize("name", VERBS)
def test_the_list_of_verbs_says_of_each_what_its_own_help_says_first(name: str) -> None:
    help_text = " ".join((verb(name).help or "").split())
    assert verb(name).name == name
    assert help_text.startswith(f"{VERBS[name][1]} ") or help_text == VERBS[name][1]


def test_the_readmes_table_of_verbs_has_every_verb_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| | |") : text.index("What is ready")]
    cells = " ".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))
    assert {span.split()[0] for span in SPAN.findall(cells)} == set(VERBS)


def test_every_verb_is_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    missing = [name for name in VERBS if name not in text]
    assert not missing


def test_the_faults_in_the_documentation_are_the_sandboxes() -> None:
    text = (ROOT / "docs/sandbox.md").read_text(encoding="utf-8")
    table = text[text.index("| kind |") : text.index("## Jobs")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(Kind))


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples call curl")
def test_the_sandboxs_examples_work() -> None:
    text = (ROOT / "docs/sandbox.md").read_text(encoding="utf-8")
    blocks = [block for kind, block in FENCE.findall(text) if kind == "sh"]
    with Sandbox(podcasts={"podcast-1": "One"}) as sandbox:
        script = "\n".join(blocks).replace("http://127.0.0.1:8010", sandbox.url)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert '"status": "UNAVAILABLE"' in done.stdout


# The pages


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(text)
    }


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def text_files() -> Iterator[tuple[str, str]]:
    folders = ("feedwatch", "tests", "docs", "systemd", "packaging", ".github", ".ci")
    inside = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    for path in [*ROOT.iterdir(), *inside]:
        ours = path.is_file() and "__pycache__" not in path.parts and path.name != ".git"
        if ours and path.suffix not in (".db", ".pyc"):
            try:
                yield ids(path), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    found = [
        (name, match[0]) for name, text in text_files() for match in SOMEBODYS_FOLDER.finditer(text)
    ]
    assert not found
