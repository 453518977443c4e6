"""The manual page, which is made from the help."""

import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from feedwatch.cli.verbs import STATUSES, VERBS, verb
from feedwatch.config.key_names import PREFIX, SYSTEM_FILE

ROOT = Path(__file__).parent.parent
CHECKERS = {
    "groff": ["groff", "-ww", "-man", "-Tutf8"],
    "man": ["man", "--warnings", "-l"],
    "mandoc": ["mandoc", "-Tlint", "-W", "warning"],
}


@pytest.fixture
def manual(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1792800000")
    spec = spec_from_file_location("manual", ROOT / "contrib/manual.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(page: str) -> str:
    """The page as a reader sees it, without spaces."""
    command = ["groff", "-man", "-Tascii", "-P-cbou"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)
    return "".join(done.stdout.split())


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_page_says_of_every_verb_what_its_help_says(manual: ModuleType) -> None:
    text = shown(manual.page())
    for name in VERBS:
        command = verb(name)
        assert "".join((command.help or "").replace("`", "").split()) in text
        for param in command.params:
            options = [*param.opts, getattr(param, "help", None)]
            assert all("".join(one.split()) in text for one in options if one and "-" in one)
    for number, meaning in STATUSES.items():
        assert f"{number}{''.join(meaning.split())}" in text
    assert f"{SYSTEM_FILE}" in text
    assert f"#{PREFIX}PIPELINE=ads" in text


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_page_is_in_order_for_who_shows_it(
    manual: ModuleType, checker: str, tmp_path: Path
) -> None:
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed")
    page = tmp_path / "feedwatch.1"
    page.write_text(manual.page(), encoding="ascii")
    done = subprocess.run(
        [*CHECKERS[checker], page], capture_output=True, text=True, check=False, env=os.environ
    )
    complaints = done.stdout if checker == "mandoc" else done.stderr
    assert (done.returncode, complaints) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("text", [".start", "'start", "a\n.b", r"C:\new", "a-b ~ ^ `x", "\\&."])
def test_no_text_of_a_verb_is_taken_for_a_request_of_roff(manual: ModuleType, text: str) -> None:
    page = f".TH A 1\n.SH NAME\n{manual.folded(text)}\n"
    assert "".join(text.split()) in shown(page)


def test_the_same_source_makes_the_same_page(manual: ModuleType) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "contrib/manual.py"],
        capture_output=True,
        check=True,
        env={"SOURCE_DATE_EPOCH": "1792800000", "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.decode("ascii") == manual.page()
    assert manual.page().startswith('.TH FEEDWATCH 1 "2026-10-')
