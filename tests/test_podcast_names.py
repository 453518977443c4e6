"""Which podcast has a show's name."""

import pytest

from feedwatch.core.podcast_names import (
    Ambiguous,
    Match,
    Podcast,
    Unmatched,
    match_podcast,
    name_key,
    podcasts_in,
)

DAILY = Podcast("p-1", "The Daily: News & Views")
WEEKLY = Podcast("p-2", "Weekly Science")
MUSIC = Podcast("p-3", "Café Müller")


def found(title: str, *podcasts: Podcast) -> Match:
    return match_podcast(title, podcasts or (DAILY, WEEKLY, MUSIC))


@pytest.mark.parametrize(
    ("title", "podcast"),
    [
        ("The Daily: News & Views", DAILY),
        ("  the daily — NEWS &\n views! ", DAILY),
        ("The “Daily”, News & Views…", DAILY),
        ("Weekly\u00a0Science", WEEKLY),
        ("Week\u00adly Sci\u200bence\ufeff", WEEKLY),
        ("\uff37eekly-Science", WEEKLY),
        ("Cafe\u0301 Mu\u0308ller", MUSIC),
        ("CAFÉ MÜLLER", MUSIC),
    ],
)
def test_a_name_is_found_however_it_is_cased_spaced_and_punctuated(
    title: str, podcast: Podcast
) -> None:
    assert found(title) == podcast


@pytest.mark.parametrize(
    "title",
    [
        "The Daily",
        "The Daily: News and Views",
        "Weekly Sciences",
        "Weekly Science 2",
        "Cafe Muller",
        "",
        " ",
        "?!",
    ],
)
def test_what_is_merely_alike_is_never_chosen(title: str) -> None:
    assert isinstance(found(title), Unmatched)


@pytest.mark.parametrize(
    ("one", "other"), [("C", "C#"), ("C", "C++"), ("Q&A", "Q A"), ("100", "100%"), ("A", "@A")]
)
def test_a_sign_that_tells_two_shows_apart_is_kept(one: str, other: str) -> None:
    podcast = Podcast("p-1", one)
    assert found(other, podcast) != podcast
    assert found(one, podcast) == podcast


def test_a_name_that_two_podcasts_have_is_ambiguous_and_decides_nothing() -> None:
    twin = Podcast("p-9", "weekly science.")
    assert found("Weekly Science", DAILY, WEEKLY, twin) == Ambiguous((WEEKLY, twin))


def test_podcasts_with_names_alike_are_proposed_the_nearest_first_and_few() -> None:
    others = [Podcast(f"x-{number}", f"Weekly Sciences {number}") for number in range(9)]
    answer = found("Weekly Scienc", DAILY, *others, WEEKLY)
    assert isinstance(answer, Unmatched)
    assert answer.near == (WEEKLY, *others[:2])
    assert found("Something else") == Unmatched(())


def test_punctuation_alone_is_no_name_even_where_a_podcast_has_no_other() -> None:
    assert found("?", Podcast("p-1", "!")) == Unmatched(())


def test_the_form_is_the_form_of_itself() -> None:
    for name in ("ẞ ﬁ Ⅻ", "The “Daily”…", "\u0390 \u1fd3", "Ǆ-x"):
        assert name_key(name_key(name)) == name_key(name)


def test_an_entry_of_the_api_counts_once_and_with_id_and_name_only() -> None:
    entries: list[dict[str, object]] = [
        {"id": "p-1", "name": "One"},
        {"id": "p-1", "name": "One"},
        {"id": "p-2"},
        {"id": None, "name": "None"},
        {"id": 7, "name": "Seven"},
        {"id": "", "name": "Nothing"},
        {"id": "p-3", "name": None},
    ]
    assert podcasts_in(entries) == (Podcast("p-1", "One"),)
