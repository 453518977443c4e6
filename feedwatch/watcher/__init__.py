"""The imperative shell: fetch and ask, let `core` decide, write the decision down.

Each loop's `tick` is one pass over what is due. What is due stands in the database; the process
knows only what is under way right now.
"""
