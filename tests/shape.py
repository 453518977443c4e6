"""Counts how the code is shaped: `python -m tests.shape`, with `--list` the private helpers, too.

A private helper is a function whose name begins with one underscore. Its callers are counted by
name within its file, so one that is passed to something else counts as called there; a method that
calls the one that it overrides is called by a library, and does not count. A function's body is its
lines without the signature and the docstring.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parent.parent / "feedwatch"

MOST_LINES_OF_A_FILE = 400
MOST_PUBLIC_METHODS = 25
MOST_HELPERS_WITH_ONE_CALLER = 0.15  # of all functions
NINE_IN_TEN_BODIES = 22  # lines at most


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function or method."""

    path: Path
    name: str
    body: int  # lines
    callers: int  # within its file

    @property
    def is_helper_with_one_caller(self) -> bool:
        """Whether it is private and only one place uses it."""
        is_private = self.name.startswith("_") and not self.name.startswith("__")
        return is_private and self.callers == 1


def functions(root: Path = ROOT) -> Iterator[Function]:
    """Every function of the package but special methods."""
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Name | ast.Attribute)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                has_docstring = ast.get_docstring(node) is not None
                body = node.body[1:] if has_docstring else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                overrides = any(
                    isinstance(one, ast.Attribute)
                    and one.attr == node.name
                    and ast.unparse(one.value) == "super()"
                    for one in ast.walk(node)
                )
                callers = used[node.name] - overrides
                yield Function(path=path, name=node.name, body=lines, callers=callers)


def lines(root: Path = ROOT) -> dict[Path, int]:
    """Lines by file."""
    return {path: len(path.read_text(encoding="utf-8").splitlines()) for path in root.rglob("*.py")}


def public_methods(root: Path = ROOT) -> dict[str, int]:
    """How many public methods each class has."""
    return {
        f"{path.relative_to(root)}:{node.name}": sum(
            isinstance(one, ast.FunctionDef) and not one.name.startswith("_") for one in node.body
        )
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }


def main() -> None:
    """Print the figures, beside their limits where there are some."""
    found = list(functions())
    helpers = [one for one in found if one.is_helper_with_one_caller]
    bodies = [one.body for one in found]
    by_file = lines()
    print(f"lines                     {sum(by_file.values())}")
    print(f"longest file              {max(by_file.values())} (at most {MOST_LINES_OF_A_FILE})")
    most = max(public_methods().values())
    print(f"public methods of a class {most} (at most {MOST_PUBLIC_METHODS})")
    share = len(helpers) / len(found)
    print(
        f"helpers with one caller   {len(helpers)} of {len(found)} functions, {share:.1%} "
        f"(at most {MOST_HELPERS_WITH_ONE_CALLER:.0%})"
    )
    print(f"median body               {median(bodies)} lines")
    tenth = quantiles(bodies, n=10)[-1]
    print(f"nine bodies in ten        {tenth:.0f} lines (at most {NINE_IN_TEN_BODIES})")
    if "--list" in sys.argv:
        for one in sorted(helpers, key=lambda one: (one.path, -one.body)):
            print(f"  {one.path.relative_to(ROOT)}: {one.name}, {one.body} lines")


if __name__ == "__main__":
    main()
