"""Webhook: a POST of the event's JSON, signed by Standard Webhooks (www.standardwebhooks.com)."""

import base64
import hmac
import time
from dataclasses import dataclass, field

import httpx

from feedwatch.core.events import Event, to_json
from feedwatch.core.masking import shortened
from feedwatch.net.client import deadline, described
from feedwatch.notify.names import WEBHOOK

SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A channel to one URL. Only 2xx is success; a redirect is none, since it loses the body."""

    http: httpx.Client = field(repr=False)
    url: str = field(repr=False)  # may carry a token
    secret: bytes = field(repr=False)
    name: str = WEBHOOK

    def complaint(self) -> str | None:
        """Nothing: only an event can show whether the receiver works."""
        return None

    def deliver(self, event: Event) -> str | None:
        """Send an event by one POST."""
        body = to_json(event).encode()
        moment = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": event.id,
            "webhook-timestamp": moment,
            "webhook-signature": signature(self.secret, event.id, moment, body),
        }
        try:
            with (
                deadline(SECONDS),
                self.http.stream("POST", self.url, content=body, headers=headers) as response,
            ):
                return (
                    None if response.is_success else f"the server answered {response.status_code}"
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return shortened(described(error))


def signature(secret: bytes, event_id: str, moment: str, body: bytes) -> str:
    """The signature over id, time and body, which the receiver computes as well."""
    signed = f"{event_id}.{moment}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"
