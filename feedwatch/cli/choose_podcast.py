"""Which podcast of the media API a feed's episodes go to: by a person's word, or by name."""

from collections.abc import Sequence

from feedwatch.cli.ask import choose
from feedwatch.cli.assembly import api
from feedwatch.cli.output import USAGE, say, stop
from feedwatch.config.keys import Settings
from feedwatch.core.job import Later
from feedwatch.core.podcast_names import Ambiguous, Podcast, match_podcast, podcasts_in
from feedwatch.core.printable import counted
from feedwatch.net.client import Cancellation


def podcast_for(settings: Settings, title: str, given: str | None, *, asks: bool) -> Podcast:
    """The podcast with the id `given`, else the one that has the feed's title.

    Ends the program where there is none, or nobody can be asked which.
    """
    with api(settings, Cancellation()) as inlet:
        entries = inlet.podcasts()
    if isinstance(entries, Later):
        if given is None:
            stop(f"the podcasts cannot be listed: {entries.reason}; name one by --podcast ID")
        say(f"Whether there is a podcast {given} is not known: {entries.reason}")
        return Podcast(given, given)
    podcasts = podcasts_in(entries)
    if given is None:
        return podcast_by_name(title, podcasts, asks=asks)
    hint = "`feedwatch podcasts` lists those that it reaches"
    found = next((one for one in podcasts if one.id == given), None)
    return found or stop(f"the API key reaches no podcast {given}: {hint}", USAGE)


def podcast_by_name(title: str, podcasts: Sequence[Podcast], *, asks: bool) -> Podcast:
    """The only podcast of this name, else the one that a person chooses."""
    match = match_podcast(title, podcasts)
    if isinstance(match, Podcast):
        return match
    if isinstance(match, Ambiguous):
        likely, answers = match.podcasts, list(match.podcasts)
        why = f"{counted(len(likely), 'podcast')} of the API are named {title!r}"
    else:
        likely, why = match.near, f"no podcast of the API is named {title!r}"
        answers = [*likely, *(one for one in podcasts if one not in likely)]
    if asks and answers:
        say(f"{why[:1].upper()}{why[1:]}.")
        return answers[choose("Which podcast", [f"{one.name} ({one.id})" for one in answers])]
    near = "".join(f"; {one.name} is {one.id}" for one in likely)
    return stop(f"{why}: name one by --podcast ID, `feedwatch podcasts` lists them{near}", USAGE)
