"""When the loops run, how they stop, and whether they make progress."""
