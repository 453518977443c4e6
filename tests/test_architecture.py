"""Which package may import which, and how large a file may be. README shows the picture."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "feedwatch"

# Each floor may import only from the floors below it, and of these only what is named here.
FLOORS = (
    {"core", "net", "sandbox"},
    {"logs", "feeds", "processors", "store"},
    {"notify", "config"},
    {"watcher"},
    {"daemon"},
    {"web"},
    {"cli"},
)
ALLOWED = {
    "core": set[str](),
    "net": set[str](),
    "sandbox": set[str](),  # stands apart, as the real API would
    "logs": {"core"},
    "feeds": {"core", "net"},
    "processors": {"core", "net"},
    "store": {"core"},
    "notify": {"core", "net", "logs"},
    "config": {"core", "net", "logs"},
    "watcher": {"core", "net", "feeds", "processors", "store", "notify"},
    "daemon": {"core", "net", "processors", "store", "watcher"},
    "web": {"core", "logs", "feeds", "store", "watcher", "daemon"},
    "cli": set().union(*FLOORS),  # puts the parts together
}
LIBRARIES = {
    "core": set[str](),
    "net": {"httpx", "httpcore", "brotli", "backports", "compression"},
    "sandbox": {"pydantic", "pydantic_core"},
    "logs": set[str](),
    "feeds": {"httpx", "feedparser", "idna"},
    "processors": {"httpx"},
    "store": {"sqlalchemy", "alembic", "psycopg"},
    "notify": {"httpx", "apprise"},
    "config": {"pydantic", "pydantic_core", "dotenv", "regex"},
    "watcher": {"httpx"},
    "daemon": {"apscheduler", "prometheus_client"},
    "web": {"flask", "jinja2", "markupsafe", "waitress", "werkzeug", "_typeshed"},
    "cli": {"click", "rich", "httpx"},
}


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imports() -> frozenset[tuple[str, str]]:
    """Each package, and each module that it imports."""
    return frozenset(_imports())


def _imports() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        package = package_of(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((package, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                module = node.module or ""
                if module == "feedwatch":
                    yield from ((package, f"feedwatch.{alias.name}") for alias in node.names)
                else:
                    yield package, module


PACKAGES = sorted(ALLOWED)
PARTS = {name: ALLOWED[name] | {name, "__version__"} for name in PACKAGES} | {"__main__": {"cli"}}


@pytest.mark.parametrize("part", PARTS)
def test_a_package_imports_only_what_the_table_allows(part: str) -> None:
    ours = {name for one, name in imports() if one == part and name.startswith("feedwatch.")}
    assert {name.split(".")[1] for name in ours} <= PARTS[part]


@pytest.mark.parametrize("part", PARTS)
def test_a_library_has_its_owners(part: str) -> None:
    found = {name.split(".")[0] for one, name in imports() if one == part} - {"feedwatch"}
    assert found - sys.stdlib_module_names <= LIBRARIES.get(part, set())


def test_the_page_names_the_libraries_of_each_package() -> None:
    table = (ROOT.parent / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", table, re.MULTILINE)
    told = {name: set(re.findall(r"[\w-]+", libraries)) for name, libraries in rows}
    parts = {"pydantic_core": "pydantic", "backports": "zstd", "compression": "zstd"}
    parts |= {"markupsafe": "jinja2", "werkzeug": "flask", "prometheus_client": "prometheus-client"}
    for package, libraries in LIBRARIES.items():
        used = {parts.get(one, one) for one in libraries} - {"_typeshed"}
        assert told[package] == used, package


def test_nothing_else_imports_anything() -> None:
    assert {one for one, _ in imports()} <= PARTS.keys()


def test_the_table_has_every_package_and_the_root_no_module_besides() -> None:
    files = {path.name for path in ROOT.glob("*.py")}
    assert files == {"__init__.py", "__main__.py"}
    packages = {package_of(path) for path in ROOT.rglob("*.py")} - {"__init__", "__main__"}
    assert packages == ALLOWED.keys() == LIBRARIES.keys() == set().union(*FLOORS)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_leads_to_a_package_of_its_own_floor_or_above(package: str) -> None:
    floor = next(number for number, names in enumerate(FLOORS) if package in names)
    below = set[str]().union(*FLOORS[:floor])
    assert ALLOWED[package] - {package} <= below | ({package} if package == "cli" else set())


@pytest.mark.parametrize("path", sorted(ROOT.rglob("__init__.py")), ids=package_of)
def test_a_package_imports_at_most_core_when_it_is_imported(path: Path) -> None:
    if path.parent.name == "scan":
        return  # its one entry is the door to what lies behind
    modules = [
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    ours = [module for module in modules if module.startswith("feedwatch")]
    assert all(module.startswith("feedwatch.core") for module in ours)


PICTURE = re.compile(r"```text\n(7 .*?)```", re.DOTALL)
PAGES = (ROOT.parent / "README.md", ROOT.parent / "docs/architecture.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_picture_has_each_package_on_its_floor(page: Path) -> None:
    found = PICTURE.search(page.read_text(encoding="utf-8"))
    assert found, "the picture is there, from floor 7 down"
    drawn = {
        int(line[0]): set(re.findall(r"[a-z]+", line[1:48]))
        for line in found[1].splitlines()
        if line[0].isdigit()
    }
    assert drawn == dict(enumerate(FLOORS, start=1))


def test_the_table_of_the_docs_is_the_table_of_this_test() -> None:
    text = PAGES[1].read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(ALLOWED)
    for name, ours, _ in rows:
        if ours != "all":
            assert set(re.findall(r"[a-z]+", ours)) == ALLOWED[name], name


def test_the_files_that_the_docs_name_are_there() -> None:
    text = PAGES[1].read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    roots = (ROOT, ROOT.parent)
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert missing == []


def test_the_way_of_one_url_enters_at_most_twelve_files() -> None:
    text = PAGES[1].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([\w/]+\.py)` \|", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len({file for _, file in rows}) == len(rows) <= 12
