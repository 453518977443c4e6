"""The imperative shell: ask the world, let the pure parts decide, write the answer down.

Each duty's `tick` is one pass over what is due. What is due stands in the database; the process
knows only what is under way right now.
"""

from feedwatch.watcher.alerts import Alerts
from feedwatch.watcher.checks import Checks, look
from feedwatch.watcher.context import Context, Plan
from feedwatch.watcher.polls import Polls
from feedwatch.watcher.reading import decisions_on
from feedwatch.watcher.submissions import Submissions

__all__ = ["Alerts", "Checks", "Context", "Plan", "Polls", "Submissions", "decisions_on", "look"]
