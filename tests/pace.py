"""How fast this machine is just now: bars of CPU time are those of the machine they were set on.

Another machine is slower, and a busy one takes more CPU time for the same: two threads of a core
share its units, all processes share the caches. A page of 80 ms took 160 in CI.
"""

import json
import time

# CPU seconds of `_piece_of_work`, by Python 3.11 on the quiet machine on which the bars were set.
REFERENCE = 0.0085


def slowness() -> float:
    """How many times as long as there a piece of Python takes here and now; at least 1."""
    began = time.thread_time()
    _piece_of_work()
    return max(1.0, (time.thread_time() - began) / REFERENCE)


def _piece_of_work() -> int:
    rows = [
        {"id": n, "title": f"Episode {n} of a show", "state": ("held", "ready")[n % 2]}
        for n in range(4000)
    ]
    rows.sort(key=lambda row: str(row["id"])[::-1])
    return sum(len(row["title"].replace("E", "").split()) for row in json.loads(json.dumps(rows)))
