"""Tracking prefixes and volatile parameters of enclosure URLs. Data only; add what is seen.

They serve to compare URLs, never to change what is submitted. Hosts are written as they follow the
scheme, in lower case; the URL is percent-decoded before. The list has what was seen in feeds and
what the services document. A new entry gives the URLs that have it another key: known episodes
learn it at their next check, being known by their other keys; what was paid for before is found by
those alone.
"""

# A tracking service puts itself before the URL proper: SERVICE/its/own/path/host/of/the/file.mp3.
# Each pattern covers all up to the host; what follows may begin with a scheme of its own.
PREFIXES = (
    r"(?:dts|www|play)\.podtrac\.com/(?:pts/)?redirect\.[a-z0-9]+/",
    r"(?:pdst|pdcn)\.(?:fm|co)/e/",
    r"(?:chtbl\.com|chrt\.fm)/track/[^/]+/",
    r"(?:www\.)?op3\.dev/e(?:,[^/]*)?/",
    r"prfx\.byspotify\.com/e/",
    r"arttrk\.com/p/[^/]+/",
    r"mgln\.ai/e/[^/]+/",
    r"pscrb\.fm/rss/p/",
    r"(?:verifi|www)\.podscribe\.com/rss/p/",
    r"(?:clrtpod\.com/m|claritaspod\.com/measure)/",
    r"(?:tracking\.)?swap\.fm/track/[^/]+/",
    r"(?:www\.)?podderapp\.com/prefix/[^/]+/",
    r"pfx\.vpixl\.com/[^/]+/",
    r"pfx\.veritonicmetrics\.com/vt/[^/]+/",
    r"growx\.podkite\.com/(?:https?/[^/]+/)?",
    r"gum\.fm/r/",
    r"2\.gum\.fm/",
    r"p\.podderapp\.com/[^/]+/",
    r"pd\.adswizz\.com/",
    r"media\.blubrry\.com/[^/]+/(?=[^/]+\.[a-z]{2,}/)",  # without a host behind, it is the host
    r"flex\.acast\.com/(?=[^/]+\.[a-z]{2,}/)",
    r"anchor\.fm/s/[^/]+/podcast/play/[^/]+/(?:sponsor/[^/]+/)?(?=https?:)",
)

# Parameters of a query that change although the file does not. The others tell files apart.
# fmt: off
VOLATILE_PARAMETERS = frozenset({
    "updated", "dest-id", "rss_browser", "in_playlist", "sourcefeed",
    "sig", "signature", "expires", "exp", "policy", "key-pair-id", "token", "tk", "hdnea", "hdnts",
    "token-time", "token-hash",
    "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires", "x-amz-security-token",
    "x-amz-signature", "x-amz-signedheaders",
    "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term",
})
# fmt: on
