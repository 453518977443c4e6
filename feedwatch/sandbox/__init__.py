"""The sandbox: a local stand-in for the media API by its contract, with faults on demand."""
