"""The lock files fit pyproject.toml, hold nothing else, and are what is installed here."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any, NamedTuple

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

LOCK = ROOT / "requirements"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

PIN = re.compile(r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


class Pin(NamedTuple):
    version: str
    marker: Marker | None
    hashes: int


def lines(name: str) -> Iterator[str]:
    for line in (LOCK / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def pins(name: str) -> dict[str, Pin]:
    found: dict[str, Pin] = {}
    last = ""
    for line in lines(name):
        if pin := PIN.match(line):
            last = canonicalize_name(pin["name"])
            assert last not in found, f"{last} is pinned twice: {name}.txt"
            marker = Marker(pin["marker"]) if pin["marker"] else None
            found[last] = Pin(pin["version"], marker, hashes=0)
        else:
            assert HASH.match(line), f"neither a pin nor a hash: {line}"
            found[last] = found[last]._replace(hashes=found[last].hashes + 1)
    return found


def group(name: str) -> Iterator[str]:
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, dict):
            yield from group(entry["include-group"])
        else:
            yield entry


def wanted(name: str) -> list[Requirement]:
    """What pyproject.toml asks for where this lock file is installed."""
    runtime: list[str] = PROJECT["project"]["dependencies"]
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    notify, postgres = extras["notify"], extras["postgres"]
    asked: dict[str, list[str]] = {
        "runtime": runtime,
        "notify": runtime + notify,
        "postgres": runtime + postgres,
        "build": [*PROJECT["build-system"]["requires"], *group("build")],
        "dev": [*runtime, *notify, *postgres, *group("dev")],
    }
    return [Requirement(text) for text in asked[name]]


def applies(marker: Marker | None, extra: str = "", python: str = "") -> bool:
    environment = {**default_environment(), "extra": extra}
    if python:
        environment |= {"python_version": python, "python_full_version": f"{python}.0"}
    return marker is None or marker.evaluate(environment)  # type: ignore[arg-type]


def needed(roots: Iterable[Requirement]) -> set[str]:
    """Those and all that they need here, by what the installed packages say of themselves."""
    seen: set[tuple[str, str]] = set()
    todo = [(root, "") for root in roots]
    while todo:
        requirement, extra = todo.pop()
        if not applies(requirement.marker, extra):
            continue
        name = canonicalize_name(requirement.name)
        for asked in ("", *requirement.extras):
            if (name, asked) not in seen:
                seen.add((name, asked))
                theirs = metadata.requires(name) or []
                todo += [(Requirement(text), asked) for text in theirs]
    return {name for name, _ in seen}


FILES = pytest.mark.parametrize("name", ["build", "runtime", "notify", "postgres", "dev"])


@FILES
def test_every_pin_has_hashes_and_nothing_names_where_it_comes_from(name: str) -> None:
    assert all(pin.hashes for pin in pins(name).values())
    assert "://" not in (LOCK / f"{name}.txt").read_text(encoding="utf-8")


@FILES
@pytest.mark.parametrize("python", PYTHONS)
def test_what_pyproject_asks_for_is_pinned_within_its_range(name: str, python: str) -> None:
    pinned = pins(name)
    for requirement in wanted(name):
        if not applies(requirement.marker, python=python):
            continue
        pin = pinned.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement} is not in {name}.txt: make lock"
        assert applies(pin.marker, python=python), f"{requirement} is not for Python {python}"
        assert requirement.specifier.contains(pin.version, prereleases=True), (
            f"{requirement}, but {name}.txt has {pin.version}: make lock"
        )


@FILES
def test_it_has_what_is_needed_and_nothing_else(name: str) -> None:
    here = {pinned for pinned, pin in pins(name).items() if applies(pin.marker)}
    assert here == needed(wanted(name)), "make lock"


@pytest.mark.parametrize("name", ["build", "runtime", "notify", "postgres"])
def test_what_is_tested_is_what_is_shipped(name: str) -> None:
    shipped, tested = pins(name), pins("dev")
    assert {package: tested[package] for package in shipped} == shipped


@pytest.mark.skipif(
    sys.prefix != str(ROOT / ".venv"), reason="this environment was not made by make"
)
def test_what_is_installed_is_what_is_locked() -> None:
    here = {name: pin.version for name, pin in pins("dev").items() if applies(pin.marker)}
    assert {name: metadata.version(name) for name in here} == here


def test_the_pythons_are_those_that_pyproject_and_ci_name() -> None:
    classifiers = PROJECT["project"]["classifiers"]
    named = [c.rpartition(" ")[2] for c in classifiers if re.search(r":: 3\.\d+$", c)]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    matrix = re.search(r"python: \[(.*)\]", workflow)
    assert matrix
    assert named == PYTHONS == re.findall(r"[\d.]+", matrix[1])


def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it() -> None:
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        for line in workflow.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line
