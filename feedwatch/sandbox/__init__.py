"""A local stand-in for the media API: follows its contract, and misbehaves on demand."""

from feedwatch.sandbox.faults import Fault, Faults
from feedwatch.sandbox.server import Sandbox
from feedwatch.sandbox.state import Received

__all__ = ["Fault", "Faults", "Received", "Sandbox"]
