"""How a row can end that is not green."""


class MissingError(Exception):
    """What a row needs cannot be had on this machine; the text says why."""


class StoppedError(Exception):
    """The tool was told to stop."""


class RedError(Exception):
    """A row cannot go on; the text says why it is red."""
