"""Who may import whom. The README draws the same picture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "feedwatch"

ALLOWED = {
    "__init__": set[str](),
    "__main__": {"cli"},
    "model": set[str](),
    "timing": set[str](),
    "tracking": set[str](),
    "identity": {"model", "tracking"},
    "admission": {"identity", "model"},
    "moving": {"model"},
    "lifecycle": {"model", "moving", "timing"},
    "events": {"logs", "model"},
    "troubles": {"events", "masking", "model"},
    "text": set[str](),
    "enclosures": set[str](),
    "dialects": {"enclosures", "namespaces"},
    "bodies": {"model", "text"},
    "dates": set[str](),
    "namespaces": set[str](),
    "rss": {"model", "text", "enclosures", "dialects", "bodies", "dates"},
    "memory": set[str](),
    "quick": {"model", "text", "enclosures", "dates", "namespaces"},
    "digest": {"identity", "model"},
    "isolation": {"bodies", "model", "rss"},
    "republish": {"enclosures", "identity"},
    "codings": set[str](),
    "reach": set[str](),
    "wire": {"codings", "reach"},
    "hints": {"model"},
    "fetch": {"codings", "hints", "model", "reach", "wire"},
    "processors": {"codings", "model", "wire"},
    "notify": {"events", "logs", "masking", "wire"},
    "store": {"events", "model"},
    "watcher": {
        "admission",
        "digest",
        "fetch",
        "health",
        "identity",
        "lifecycle",
        "model",
        "moving",
        "notify",
        "processors",
        "quick",
        "store",
        "timing",
        "troubles",
        "wire",
    },
    "health": set[str](),
    "heart": {"health", "store"},
    "systemd": set[str](),
    "http_side": set[str](),
    "metrics": {"health", "model", "processors", "store"},
    "daemon": {"health", "heart", "store", "systemd", "timing", "watcher", "wire"},
    "masking": set[str](),
    "config": {"masking", "model"},
    "logs": {"masking"},
    "marker": {"model"},
    "sandbox": set[str](),  # stands apart, as the real API would
}
ANYTHING = {"cli"}  # puts the parts together

ONLY = {
    "alembic": {"store"},
    "apprise": {"notify"},
    "apscheduler": {"daemon"},
    "backports": {"codings"},
    "brotli": {"codings"},
    "click": {"cli"},
    "dotenv": {"config"},
    "feedparser": {"rss", "dialects"},
    "httpcore": {"wire"},
    "httpx": {"wire", "fetch", "notify", "processors", "watcher", "cli"},
    "prometheus_client": {"metrics"},
    "pydantic": {"config", "sandbox"},
    "rich": {"cli"},
    "sqlalchemy": {"store"},
}


def imports() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((part, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                names = (
                    [f"feedwatch.{alias.name}" for alias in node.names]
                    if node.module == "feedwatch"
                    else [node.module or ""]
                )
                yield from ((part, name) for name in names)


FOUND = sorted(set(imports()))
OURS = [(part, name.split(".")[1]) for part, name in FOUND if name.startswith("feedwatch.")]
THEIRS = [(part, name.split(".")[0]) for part, name in FOUND if not name.startswith("feedwatch")]


@pytest.mark.parametrize(("part", "other"), sorted(set(OURS)))
def test_a_part_imports_only_what_lies_below_it(part: str, other: str) -> None:
    version = other.startswith("__")
    assert part == other or part in ANYTHING or version or other in ALLOWED[part]


@pytest.mark.parametrize(("part", "library"), sorted(set(THEIRS)))
def test_each_outside_thing_has_its_owner(part: str, library: str) -> None:
    assert part in ONLY.get(library, {part})


def test_every_part_is_in_the_table() -> None:
    parts = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert parts == ALLOWED.keys() | ANYTHING


def test_the_table_has_no_cycle() -> None:
    done: set[str] = set()
    while left := ALLOWED.keys() - done:
        free = {part for part in left if (ALLOWED[part] - done) <= {"cli"}}
        assert free, f"these import one another in a circle: {sorted(left)}"
        done |= free
