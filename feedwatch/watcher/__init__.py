"""The imperative shell: ask the world, let the pure parts decide, write the answer down.

Each duty's `tick` is one pass over what is due. What is due stands in the database; the process
knows only what is under way right now.
"""
