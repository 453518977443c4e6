"""A local stand-in for the media API: follows its contract, and misbehaves on demand."""
