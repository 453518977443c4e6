"""The parser in its own process: what it does when a document is too much for it."""

import contextlib
import gzip
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import feedwatch
from feedwatch.core.feed import Document, Failed, ParsedFeed
from feedwatch.feeds import parse, parser_process
from feedwatch.feeds.parser_process import ATTEMPTS, MAX_ITEMS_OF_A_MESSAGE, Parser, Parsers
from feedwatch.feeds.well_formed import packed as packed_here
from feedwatch.feeds.well_formed import unpacked
from tests.support import LONG, PATIENCE

AUDIO = ["audio/*"]
FEED = b"""<rss version="2.0"><channel><title>Small talk</title><item><title>One</title>
<guid>1</guid><enclosure url="https://media.example/1.mp3" type="audio/mpeg"/></item>
</channel></rss>"""


def document(body: bytes = FEED) -> Document:
    return Document(body=body, url="https://feeds.example/small-talk.xml")


def slow_document(attributes: int = 200_000) -> Document:
    """feedparser takes the square of the number of attributes: this is good for an hour."""
    many = " ".join(f'a{number}="1"' for number in range(attributes))
    return document(f"<rss><channel {many}></channel></rss>".encode())


@pytest.fixture
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def child_of(parser: Parser) -> subprocess.Popen[bytes]:
    child = parser._child
    assert child is not None
    return child


def children_started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The children that are started from now on, by their ids."""
    started: list[int] = []
    really = parser_process._start

    def start(max_memory: int) -> subprocess.Popen[bytes]:
        child = really(max_memory)
        started.append(child.pid)
        return child

    monkeypatch.setattr(parser_process, "_start", start)
    return started


def at_work() -> bool:
    """Tell whether a child has been given a document: then there is a watchdog."""
    return any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def is_reading(parser: Parser) -> bool:
    """Tell whether its child has been given a document: it takes processor time since."""
    child = parser._child
    return child is not None and child.poll() is None and at_work() and not parser.is_starting


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_the_answer_is_the_one_of_rss(parser: Parser) -> None:
    answer = parser.parse(document(), AUDIO)
    assert isinstance(answer, ParsedFeed)
    assert answer == parse.parse(document(), AUDIO)
    assert parser.parse(document(b""), AUDIO) == parse.parse(document(b""), AUDIO)


def test_the_media_types_are_passed_on(parser: Parser) -> None:
    answer = parser.parse(document(), ["video/*"])
    assert isinstance(answer, ParsedFeed)
    assert answer.items[0].enclosure_url is None


def test_no_child_is_started_before_there_is_work() -> None:
    with Parser() as parser:
        assert parser._child is None


def test_one_child_serves_many_documents(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    first = child_of(parser).pid
    parser.parse(document(), AUDIO)
    assert child_of(parser).pid == first


def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser_process, "BUSY", LONG)  # it is the processor's time that ends it
    with Parser(seconds=1, seconds_per_megabyte=0) as parser:
        starts = children_started(monkeypatch)
        answer = parser.parse(slow_document(), AUDIO)
        assert len(starts) == ATTEMPTS == 2, "once more, in a child of its own"
        assert answer == Failed("parsing took longer than 1 s; the document was given up")
        assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


def test_a_document_may_take_longer_while_the_machine_is_busy_with_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser_process, "BUSY", PATIENCE)
    with Parser() as parser, ThreadPoolExecutor(1) as pool:
        parser.parse(document(), AUDIO)
        child = child_of(parser)
        parser.seconds = 0.3
        child.send_signal(signal.SIGSTOP)
        answer = pool.submit(parser.parse, document(), AUDIO)
        until = time.monotonic() + 3 * parser.seconds
        wait_for(lambda: time.monotonic() > until)
        child.send_signal(signal.SIGCONT)
        assert isinstance(answer.result(), ParsedFeed)
        assert child_of(parser) is child


def test_a_child_that_does_not_get_on_at_all_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_process, "BUSY", 2)
    monkeypatch.setattr(parser_process, "ATTEMPTS", 1)  # the second child would get on
    with Parser() as parser:
        parser.parse(document(), AUDIO)
        child_of(parser).send_signal(signal.SIGSTOP)
        parser.seconds = 0.1
        answer = parser.parse(document(), AUDIO)
        assert isinstance(answer, Failed)
        assert answer.reason.startswith("parsing took longer than")


def test_it_also_makes_documents_fit_to_be_served_within_the_same_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser_process, "BUSY", LONG)
    with Parser(seconds=0.3, seconds_per_megabyte=0) as parser:
        packed = parser.pack(document())
        assert isinstance(packed, bytes)
        assert unpacked(packed) == FEED
        answer = parser.pack(document(FEED.replace(b"<item>", b"<x/>" * 900_000 + b"<item>")))
        assert answer == Failed("parsing took longer than 0 s; the document was given up")
        assert parser.pack(document(b"<rss>")) == packed_here(document(b"<rss>"))


def test_large_documents_get_more_time() -> None:
    with Parser(seconds=0.2, seconds_per_megabyte=0.5) as parser:
        answer = parser.parse(slow_document(150_000), AUDIO)
        assert isinstance(answer, Failed)
        assert "1 s" in answer.reason


def test_a_child_that_is_killed_at_work_costs_no_document(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    child = child_of(parser)
    child.send_signal(signal.SIGSTOP)  # or it would be done
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(parser.parse, document(), AUDIO)
        wait_for(at_work)
        child.kill()
        assert isinstance(answer.result(), ParsedFeed)
    assert child_of(parser).pid != child.pid


def test_children_that_die_at_work_twice_cost_one_document(parser: Parser) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(parser.parse, slow_document(), AUDIO)
        for _ in range(ATTEMPTS):
            wait_for(lambda: is_reading(parser))
            child_of(parser).kill()
            child_of(parser).wait()
        assert answer.result() == Failed(
            "the parser ran out of memory or crashed; the document was given up"
        )
    assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


def test_no_limit_of_a_document_begins_before_its_child_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser_process, "BUSY", PATIENCE)
    with Parser(seconds=0.1, seconds_per_megabyte=0) as parser:  # a start takes longer
        assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


def test_a_child_that_does_not_get_ready_is_nobodys_fault_and_the_next_one_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = parser_process._start

    def dies(max_memory: int) -> subprocess.Popen[bytes]:
        monkeypatch.setattr(parser_process, "_start", start)
        child = start(max_memory)
        child.kill()
        return child

    monkeypatch.setattr(parser_process, "_start", dies)
    with Parser() as parser:
        assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


def test_many_items_come_in_pieces_and_in_their_order(parser: Parser) -> None:
    item = b"<item><guid>%d</guid><title>x</title></item>"

    def of(number: int) -> Document:
        return document(
            b"<rss><channel>%s</channel></rss>" % b"".join(item % n for n in range(number))
        )

    count = 2 * MAX_ITEMS_OF_A_MESSAGE + 1
    answer = parser.parse(of(count), AUDIO)
    assert isinstance(answer, ParsedFeed)
    assert [item.guid for item in answer.items] == [str(n) for n in range(count)]


def test_a_child_that_died_while_idle_costs_none(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    child = child_of(parser)
    child.kill()
    child.wait()
    assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


@pytest.mark.slow
def test_a_document_that_needs_too_much_memory_costs_only_itself() -> None:
    words = "🎙" + "a" * 20_000_000  # four bytes a character, and many copies
    bloated = f"<rss><channel><item><title>{words}</title></item></channel></rss>".encode()
    with Parser(max_memory=200_000_000) as parser:
        answer = parser.parse(document(gzip.compress(bloated, 1)), AUDIO)
        assert answer == Failed(
            "the parser ran out of memory or crashed; the document was given up"
        )
        assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)


def test_closing_ends_a_parse_in_another_thread_at_once(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    child = child_of(parser)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(parser.parse, slow_document(), AUDIO)
        wait_for(at_work)
        parser.close()
        assert answer.result() == Failed("the parser was closed before it was done")
    assert child.returncode is not None


def test_a_closed_parser_starts_no_child_and_may_be_closed_again() -> None:
    parser = Parser()
    parser.close()
    parser.close()
    assert parser.parse(document(), AUDIO) == Failed("the parser has been closed")
    assert parser._child is None


def test_no_zombie_is_left() -> None:
    with Parser(seconds=1, seconds_per_megabyte=0) as parser:
        parser.parse(slow_document(), AUDIO)
        parser.parse(document(), AUDIO)
        pid = child_of(parser).pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_threads_take_turns(parser: Parser) -> None:
    bodies = [FEED.replace(b"One", f"Number {number}".encode()) for number in range(20)]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda body: parser.parse(document(body), AUDIO), bodies))
    titles = [answer.items[0].title for answer in answers if isinstance(answer, ParsedFeed)]
    assert titles == [f"Number {number}" for number in range(20)]


def test_the_child_leaves_signals_to_its_parent(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    child = child_of(parser)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    assert isinstance(parser.parse(document(), AUDIO), ParsedFeed)
    assert child_of(parser).pid == child.pid


def test_the_child_ends_when_its_parent_is_gone() -> None:
    child = parser_process._start(parser_process.MAX_MEMORY)
    assert child.stdin is not None
    assert child.stdout is not None
    assert parser_process._receive(child.stdout)  # ready
    assert isinstance(parser_process._ask(child, (document(), AUDIO, 10.0)), ParsedFeed)
    child.stdin.close()
    assert child.wait(timeout=PATIENCE) == 0
    child.stdout.close()


def test_the_child_is_not_told_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEEDWATCH_API_KEY", "sk-made-up")
    with Parser() as parser:
        parser.parse(document(), AUDIO)
        environment = Path(f"/proc/{child_of(parser).pid}/environ").read_bytes()
    assert b"sk-made-up" not in environment


def test_the_child_runs_the_code_of_its_parent_also_where_none_is_installed() -> None:
    with Parser() as parser:
        parser.parse(document(), AUDIO)
        environment = Path(f"/proc/{child_of(parser).pid}/environ").read_bytes().split(b"\0")
    assert f"PYTHONPATH={Path(feedwatch.__file__).parent.parent}".encode() in environment


def test_what_the_child_prints_does_not_disturb_its_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "feedparser.py").write_text(
        "import os\nprint('hello', flush=True)\nos.write(1, b'noise')\n"
        "api = None\nraise ImportError('as planned')\n"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from feedwatch.feeds.parser_process import serve\n"
        "try:\n    serve(10**9)\nexcept ImportError:\n    pass\n"
    )
    request = pickle.dumps((document(), AUDIO, 5.0))
    packed = parser_process._LENGTH.pack(len(request)) + request
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, input=packed, capture_output=True, check=False)
    assert result.stdout == b""
    assert b"hello" in result.stderr
    assert b"noise" in result.stderr


def test_an_interrupt_leaves_no_half_answer_behind(
    parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = parser_process._ask

    def interrupted(child: subprocess.Popen[bytes], request: object) -> None:
        assert child.stdin is not None
        parser_process._send(child.stdin, request)
        raise KeyboardInterrupt

    monkeypatch.setattr(parser_process, "_ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parser.parse(document(FEED.replace(b"One", b"The old one")), AUDIO)
    monkeypatch.setattr(parser_process, "_ask", ask)
    answer = parser.parse(document(), AUDIO)
    assert isinstance(answer, ParsedFeed)
    assert answer.items[0].title == "One"


def test_importing_it_does_not_import_feedparser() -> None:
    code = "import sys, feedwatch.feeds.parser_process; sys.exit('feedparser' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_watchdog_thread_is_left(parser: Parser) -> None:
    parser.parse(document(), AUDIO)
    assert not at_work()


def test_a_document_that_takes_its_time_keeps_no_other_waiting() -> None:
    with contextlib.closing(Parsers(wait=0.05)) as parsers:
        assert isinstance(parsers.parse(document(), AUDIO), ParsedFeed)
        assert parsers._second._child is None, "one child is enough as long as nobody waits"
        parsers._busy.acquire()  # as a slow document does
        assert isinstance(parsers.parse(document(), AUDIO), ParsedFeed)
        assert parsers._second._child is not None
        parsers._busy.release()
