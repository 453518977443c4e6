"""The environment and one env file → Settings, or everything that is wrong with them at once."""
