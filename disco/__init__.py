"""disco: configure a container from service discovery, then become its command."""

__version__ = "0.1.0"
