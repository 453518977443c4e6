"""How to mend that a server cannot be reached: certificates and proxies are named as such."""

import httpx

from feedwatch.net.client import Obstacle, TooPrivateError, deadline, obstacle

SECONDS = 20.0


def mend_for(error: Exception, proxy_key: str, otherwise: str) -> str:
    """What to do about `error`; `otherwise`, unless it is due to a certificate or a proxy."""
    match obstacle(error):
        case Obstacle.CERTIFICATE:
            return (
                "its certificate is of an authority that is not trusted here: if it is your own, "
                "or a proxy's that reads along, name it by SSL_CERT_FILE (docs/configuration.md)"
            )
        case Obstacle.PROXY:
            return f"the proxy refuses: see {proxy_key}, its user and password and its rules"
    return otherwise


def mend_at(http: httpx.Client, url: str, proxy_key: str, otherwise: str) -> str:
    """The same, for what failed at `url`: its host is asked once more, for the error itself."""
    try:
        bare = httpx.URL(url).copy_with(userinfo=b"")
        with deadline(SECONDS), http.stream("GET", bare):
            return otherwise
    except (httpx.HTTPError, httpx.InvalidURL, TooPrivateError) as error:
        return mend_for(error, proxy_key, otherwise)
