"""The former home of what is in `site`, `processes` and `waiting` now."""

from lab.processes import below, is_alive, name_of, processes
from lab.site import Running, Site, disco_command
from lab.waiting import PATIENCE, eventually

__all__ = ["PATIENCE", "Running", "Site", "below", "disco_command", "eventually", "is_alive", "name_of", "processes"]
