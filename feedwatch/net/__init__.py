"""HTTP with limits: total deadline, bounded unpacking, address scope."""
