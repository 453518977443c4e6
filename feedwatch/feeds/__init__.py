"""One conditional GET of a feed, and a document's bytes turned into its items."""
