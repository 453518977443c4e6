"""The fast scan: finds the items of a document that were not seen before."""
