"""`sandbox`: a stand-in for the media API, for trials without a key."""

import signal
import threading

import click

from feedwatch.cli.output import Number, WholeNumber, say, stop
from feedwatch.sandbox.server import APP_KEY, APP_SECRET, Sandbox


def mediaapis_lines(url: str) -> list[str]:
    """The lines of a config that uses the Media APIs of a sandbox at `url`."""
    return [
        f"FEEDWATCH_MEDIAAPIS_URL={url}",
        f"FEEDWATCH_MEDIAAPIS_AUTH_URL={url}",
        f"FEEDWATCH_MEDIAAPIS_KEY={APP_KEY}",
        f"FEEDWATCH_MEDIAAPIS_SECRET={APP_SECRET}",
        f"FEEDWATCH_MEDIAAPIS_OUTPUT={url}/out/{{feed}}/{{id}}-{{token}}.mp3",
        f"FEEDWATCH_MEDIAAPIS_PUBLIC_URL={url}/public/{{feed}}/{{id}}-{{token}}.mp3",
    ]


@click.command()
@click.option("--port", type=WholeNumber(0, 65535), default=8010, show_default=True)
@click.option("--api-key", default="sandbox-key", show_default=True, help="The key that it takes.")
@click.option(
    "--podcast",
    "podcasts",
    multiple=True,
    default=("podcast-1",),
    show_default=True,
    metavar="ID",
    help="A podcast that it knows; may be given several times.",
)
@click.option(
    "--job-seconds",
    type=Number(min=0),
    default=10.0,
    show_default=True,
    help="How long a job takes.",
)
def sandbox(*, port: int, api_key: str, podcasts: tuple[str, ...], job_seconds: float) -> None:
    """Run a local stand-in for the media API that follows its contract.

    It costs nothing and publishes nothing. It misbehaves on demand: see docs/sandbox.md.
    """
    server = Sandbox(
        port=port,
        api_key=api_key,
        podcasts={one: f"Sandbox podcast {one}" for one in podcasts},
        job_seconds=job_seconds,
        log=say,
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    try:
        server.start()
    except OSError as error:
        stop(f"port {port} of this machine cannot be used: {error.strerror}; try --port 0")
    click.echo(
        f"The sandbox runs until Ctrl-C. Its key is {api_key}; a first config that uses it:\n\n"
        f"feedwatch init --api-url {server.url}\n\nThe same in lines:\n"
    )
    lines = [
        f"FEEDWATCH_API_URL={server.url}",
        f"FEEDWATCH_API_KEY={api_key}",
        "FEEDWATCH_POLL_INTERVAL=2s",
        f"FEEDWATCH_FEEDS__SHOW__PODCAST_ID={podcasts[0]}",
        "",
        "# for a FEEDWATCH_PIPELINE with enhance or diagnose",
        *mediaapis_lines(server.url),
    ]
    click.echo("\n".join(lines))
    click.echo(f"\nWhat it was sent: curl -s {server.url}/_sandbox/state")
    stopping.wait()
    server.stop()
