"""Values, and every decision as a pure function. Imports nothing and does no I/O."""
