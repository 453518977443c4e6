"""docs/README.md leads to every page of docs/, and every link in it to a page."""

import re

from tests.support import ROOT

DOCS = ROOT / "docs"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)")


def linked() -> list[str]:
    return LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))


def test_every_page_is_in_the_index_once() -> None:
    pages = [link for link in linked() if not link.startswith("../")]
    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(pages) == sorted(set(there) - {"README.md"})


def test_every_link_of_the_index_leads_to_a_file() -> None:
    for link in linked():
        assert (DOCS / link).is_file(), link


def test_the_readme_leads_to_the_index() -> None:
    assert "(docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_links_of_the_pages_for_contributors_lead_somewhere() -> None:
    for page in (ROOT / ".github").rglob("*.md"):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).is_file(), (page, link)
