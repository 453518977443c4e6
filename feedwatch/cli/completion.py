"""`completion`: what makes a shell complete verbs, options, feeds and states."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Write the script that completes feedwatch's verbs, options and feeds in a shell.

    For bash: `source <(feedwatch completion bash)` in ~/.bashrc, or write it to
    ~/.local/share/bash-completion/completions/feedwatch. For zsh: write it to a file _feedwatch in
    a folder of $fpath. For fish: to ~/.config/fish/completions/feedwatch.fish.
    """
    root = context.find_root()
    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(root.command, {}, "feedwatch", "_FEEDWATCH_COMPLETE").source(), nl=False)
