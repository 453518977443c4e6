"""Patches of feedparser: its two parsers, with a few elements of a feed read in our way.

feedparser looks for a method named after each element and keeps both parsers under their names in
`feedparser.api`. This module puts its own in their place.
"""

import html
import re
from dataclasses import replace
from html.entities import name2codepoint

from feedparser import api
from feedparser.mixin import _FeedParserMixin

from feedwatch.feeds import enclosures
from feedwatch.feeds.namespaces import OURS

CANDIDATES = "feedwatch_candidates"
PUT_ASIDE = "feedwatch_put_aside"  # of the feed: how many enclosures of live items it has
BASIC_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|#\w{2,7});")

_FeedParserMixin.namespaces.update(OURS)

Attributes = dict[str, str]


class _Dialects(_FeedParserMixin):  # type: ignore[misc]  # feedparser has no types
    def unknown_endtag(self, tag: str) -> None:
        """Let an xml:base end with its element, also where there was none before."""
        super().unknown_endtag(tag)
        self.baseuri = self.basestack[-1] if self.basestack else ""

    def _start_guid(self, _attrs: Attributes) -> None:
        """Keep a guid as it stands: by default feedparser resolves it like a link."""
        self.guidislink = 0
        self.push("id", 1)

    _start_id = _start_guid

    def _start_item(self, attrs: Attributes) -> None:
        self.insource = 0  # a live item or source that was never closed ends here
        super()._start_item(attrs)

    _start_entry = _start_item

    def _start_description(self, attrs: Attributes) -> None:
        """Keep all of an item's descriptions: each after content:encoded replaces the last."""
        self.hasContent = 0
        super()._start_description(attrs)

    def _start_summary(self, attrs: Attributes) -> None:
        self.hasContent = 0
        super()._start_summary(attrs)

    def _start_podcast_liveitem(self, _attrs: Attributes) -> None:
        """Put what a live item says aside: it would overwrite the feed's own title and id."""
        self.insource = 1

    def _end_podcast_liveitem(self) -> None:
        self.insource = 0
        self.sourcedata.clear()

    def _start_enclosure(self, attrs: Attributes) -> None:
        if self.insource:
            self.feeddata[PUT_ASIDE] = self.feeddata.get(PUT_ASIDE, 0) + 1
        self.note(enclosures.enclosure(attrs))

    def _start_link(self, attrs: Attributes) -> None:
        """Take enclosures before feedparser gives them the type text/html."""
        if attrs.get("rel", "").strip() == "enclosure" and enclosures.address(attrs):
            self.note(replace(enclosures.enclosure(attrs), source=enclosures.FoundIn.ATOM_LINK))
        else:
            super()._start_link(attrs)

    def _start_media_content(self, attrs: Attributes) -> None:
        self.note(enclosures.media_content(attrs))

    def _start_enc_enclosure(self, attrs: Attributes) -> None:
        url = attrs.get("rdf:resource") or attrs.get("resource") or enclosures.address(attrs)
        kind = attrs.get("enc:type") or attrs.get("type", "")
        self.note(enclosures.Candidate(source=enclosures.FoundIn.RDF_ENCLOSURE, url=url, type=kind))

    def _start_podcast_alternateenclosure(self, attrs: Attributes) -> None:
        self._get_context()["podcast_alternateenclosure"] = attrs

    def _start_podcast_source(self, attrs: Attributes) -> None:
        """Name each source of an alternate enclosure: feedparser has only the last of all."""
        of = self._get_context().get("podcast_alternateenclosure") or {}
        self.note(enclosures.alternate_source(attrs, of))

    def note(self, candidate: enclosures.Candidate) -> None:
        """Keep a candidate for the enclosure with its item, and the xml:base in force."""
        candidate = replace(candidate, base=self.baseuri or "")
        self._get_context().setdefault(CANDIDATES, []).append(candidate)


class _LooseDialects(_Dialects):
    """Patches of feedparser's lenient parser, for documents that are not well-formed."""

    def handle_charref(self, ref: str) -> None:
        """Read a document's references to characters that do not exist, where feedparser raises."""
        try:
            super().handle_charref(ref)
        except (ValueError, OverflowError):
            self.handle_data("\ufffd")

    def handle_entityref(self, ref: str) -> None:
        """Leave "Q&A" in a document alone, where feedparser makes "Q&A;" of it."""
        if ref in name2codepoint or ref in self.entities or ref == "apos":
            super().handle_entityref(ref)
        else:
            self.handle_data(f"&{ref}")

    def decode_entities(self, element: str, data: str) -> str:
        """Decode a guid like the strict parser: a feed may stop being well-formed for a day."""
        if element == "id":
            return BASIC_ENTITY.sub(lambda entity: html.unescape(entity[0]), data)
        decoded: str = super().decode_entities(element, data)
        return decoded


api.StrictFeedParser = type("StrictFeedParser", (_Dialects, api.StrictFeedParser), {})
api.LooseFeedParser = type("LooseFeedParser", (_LooseDialects, api.LooseFeedParser), {})
