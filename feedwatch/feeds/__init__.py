"""Feeds: one conditional GET, and a document's bytes turned into items.

Also the fast scan, and the document rewritten with processed URLs.
"""
