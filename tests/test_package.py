"""The systemd units, the Debian package and the image: that what they are made of fits together."""

import re
import subprocess
from pathlib import Path

import pytest

from feedwatch.config.errors import ConfigError
from feedwatch.config.key_names import KEY_KEY, SECRET_NAME, SYSTEM_FILE
from feedwatch.config.load import load
from tests.support import ROOT

UNITS = ROOT / "systemd"
DEBIAN = ROOT / "packaging" / "debian"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = ["postinst", "prerm", "postrm"]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines(unit: str) -> list[str]:
    return read(UNITS / unit).splitlines()


def settings(unit: str) -> list[tuple[str, str]]:
    pairs = (line.partition("=") for line in lines(unit) if re.match(r"[A-Z]\w+=", line))
    return [(key, value) for key, _, value in pairs]


# systemd


def test_a_round_is_as_closed_as_the_daemon_line_by_line() -> None:
    daemon, once = lines("feedwatch.service"), lines("feedwatch-once.service")
    first = next(line for line in daemon if line.startswith("# Who it is"))
    closed = daemon[daemon.index(first) : daemon.index("[Install]") - 1]
    own = {"User=feedwatch"}  # the name that systemd gives the daemon's user, after its unit
    as_the_daemon = [line for line in once[once.index(first) :] if line not in own]
    differs = [(a, b) for a, b in zip(closed, as_the_daemon, strict=True) if a != b]
    assert [b for _, b in differs] == [line for line in as_the_daemon if "the daemon's" in line]


def test_a_round_that_failed_in_part_or_left_work_for_a_person_is_no_failure_of_the_unit() -> None:
    once = dict(settings("feedwatch-once.service"))
    assert once["Type"] == "oneshot", "while it is under way, the timer starts no second one"
    assert once["SuccessExitStatus"] == "3 4"
    assert once["ExecStart"].endswith(f" --config {SYSTEM_FILE} run --once")
    assert "Restart" not in once


def test_the_timer_makes_up_for_what_was_missed_and_does_not_ask_with_everybody_else() -> None:
    timer = dict(settings("feedwatch-once.timer"))
    assert timer["Persistent"] == "yes"
    assert timer["RandomizedDelaySec"]
    assert timer["WantedBy"] == "timers.target"


def test_the_program_of_each_unit_is_where_docs_install_puts_it() -> None:
    for unit in UNITS.glob("*.service"):
        assert dict(settings(unit.name))["ExecStart"].startswith("/opt/feedwatch/bin/feedwatch ")
        assert (f"LoadCredential={SECRET_NAME}") in lines(unit.name)


# The Debian package


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_of_the_package_is_a_shells_and_ends_at_a_failure(name: str) -> None:
    assert read(DEBIAN / name).startswith("#!/bin/sh\n")
    assert "\nset -e\n" in read(DEBIAN / name)
    subprocess.run(["sh", "-n", DEBIAN / name], check=True)


def test_the_scripts_know_every_unit_that_can_be_enabled() -> None:
    enabled = [unit.name for unit in UNITS.iterdir() if "[Install]" in lines(unit.name)]
    assert sorted(enabled) == ["feedwatch-once.timer", "feedwatch.service"]
    for name in SCRIPTS:
        for unit in enabled:
            assert unit in read(DEBIAN / name), (name, unit)


def test_only_a_purge_deletes_what_tells_what_was_paid_for() -> None:
    removed, purged = re.split(r"^purge\)$", read(DEBIAN / "postrm"), flags=re.MULTILINE)
    assert not re.search(r"\brm\b.* /(?!run/)", removed)
    units = dict(settings("feedwatch.service"))
    for kind, folder in (("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")):
        for path in (f"{folder}/{units[kind]}", f"{folder}/private/{units[kind]}"):
            assert f" {path}" in purged
    assert not re.search(r"\brm\b.*/(var|etc)/", read(DEBIAN / "prerm") + read(DEBIAN / "postinst"))


def packaged_config() -> str:
    """The config of the package, by the edits that build.sh makes."""
    script = read(DEBIAN / "build.sh")
    found = re.search(r"^(sed -E -e (?:.|\n)*? config\.example\.env) \|$", script, re.MULTILINE)
    assert found is not None
    return subprocess.run(
        ["sh", "-c", found[1]], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_the_packages_config_wants_a_key_and_a_feed_and_nothing_else(tmp_path: Path) -> None:
    config = tmp_path / "config.env"
    config.write_text(packaged_config())
    with pytest.raises(ConfigError, match=KEY_KEY):
        load(config, {}, to_watch=True)
    feed = {"URL": "https://example.com/feed.xml", "PODCAST_ID": "podcast-1"}
    filled = {f"FEEDWATCH_FEEDS__OURS__{key}": value for key, value in feed.items()}
    taken = load(config, {KEY_KEY: "a-real-key", **filled}, to_watch=True)
    assert taken.database_url == "sqlite:////var/lib/feedwatch/feedwatch.db"
    assert [source.name for source in taken.sources] == ["ours"]


def test_the_package_is_of_the_python_that_it_depends_on() -> None:
    control = read(DEBIAN / "control.in")
    assert "python3 (>= 3.11), python3 (<< 3.12)" in control
    assert "bin/python3.11" in read(DEBIAN / "build.sh")
    assert "-V 3.11 " in read(DEBIAN / "postinst")


# What is built on


def test_the_image_stands_on_one_base_which_is_named_by_its_digest() -> None:
    dockerfile = read(ROOT / "Dockerfile")
    bases = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    (outside, name), *stages = bases
    assert re.fullmatch(r"python:[\d.]+-slim-\w+@sha256:[0-9a-f]{64}", outside)
    assert {base for base, _ in stages} == {name}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_a_workflow_uses_actions_by_their_commit_and_images_by_their_digest(path: Path) -> None:
    for action in re.findall(r"uses: (.*)", read(path)):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action), action
    for image in re.findall(r"container: (.*)", read(path)):
        assert re.fullmatch(r"[\w:.-]+@sha256:[0-9a-f]{64}", image), image
