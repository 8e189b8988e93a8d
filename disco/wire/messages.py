"""What processes of disco send each other: frozen messages, and how much each may hold. Their form on the wire is in `frames`."""

from __future__ import annotations

from disco.named import NamedTuple

try:
    from _blake2 import blake2b  # as the standard library's `random` takes its hash: hashlib loads all of OpenSSL first
except ImportError:
    from hashlib import blake2b

Part = bytes | memoryview  # received, it is a view of its frame: for what lives no longer than its message

# The limits of a frame, in bytes.
HEADER_LIMIT = 256 << 10
BODY_LIMIT = 160 << 20
# The limits of one Diff, in however many frames.
DIFF_LIMIT = (
    64 << 20
)  # bytes of bodies, filled ones included; a source is held to less, for its text may grow as it is decoded (1e15)
INTERFACE_LIMIT = 20_000  # interfaces of a source; as many may be removed besides
UNKNOWN_LIMIT = 20  # names that belong to no interface
EXPORT_LIMIT = 1 << 20  # bytes of the variables that one run exports
# The limit of a verdict on one interface; each problem is a text of at most disco.text.PROBLEM_LIMIT characters.
PROBLEM_COUNT = 21


class Fragment(NamedTuple):
    """What one source has of one interface.

    digest: `digest(body)`, or of what cannot be sent. problems: why this fragment alone does not satisfy the schema, with the
    schema's defaults. body: the canonical JSON object without defaults; empty where nothing can be merged with other sources' (the
    problems say why). filled: the same with defaults, where it is valid and they make a difference. is_judged: False where only the
    checker can tell whether it is valid; then there are neither problems nor `filled`.
    """

    digest: str
    problems: tuple[str, ...]
    body: bytes
    filled: bytes = b""
    is_judged: bool = True


class Diff(NamedTuple):
    """What changed in a source, to be applied atomically; an interface is always whole.

    first: this replaces all that an earlier process of the source sent. unknown: up to 20 names that belong to no
    interface; unknown_count: how many there are. note: what people should know of the source although it answered. more: the
    next Diff continues this one (`frames` splits what is too much for one header, and joins it).
    """

    first: bool
    changed: dict[str, Fragment]
    removed: tuple[str, ...]
    unknown: tuple[str, ...]
    unknown_count: int
    note: str = ""
    more: bool = False


class ReadFailed(NamedTuple):
    """A source could not read, and will try again by itself in retry_in seconds."""

    reason: str
    retry_in: float


class Heartbeat(NamedTuple):
    """The source's process is alive. answered: its backend answered too, and nothing has changed."""

    answered: bool


class Merge(NamedTuple):
    """Merge the bodies (a later one wins; often there is only one), fill in defaults, and validate that as the interface."""

    task: int
    interface: str
    bodies: tuple[bytes, ...]


class Merged(NamedTuple):
    """The answer to a Merge; has_overrun: it took too long, which is its problem."""

    task: int
    digest: str
    problems: tuple[str, ...]
    body: bytes
    has_overrun: bool = False


class Run(NamedTuple):
    """Run a handler once; timeout in seconds, 0 for none.

    env: NAME=VALUE each, of one name the last counts. stdin: what it reads there, in parts (once received: views),
    of which every second one is a body. export: the patterns of the variables that it may export to COMMAND; none: it gets no file
    for them. timeout_name: what people know the timeout by.
    """

    task: int
    rule: str
    argv: tuple[str, ...]
    env: tuple[bytes, ...]
    stdin: tuple[Part, ...]
    timeout: float
    export: tuple[str, ...] = ()
    timeout_name: str = "timeout"


class Started(NamedTuple):
    """The handler of a Run has this pid, which is its process group and session too."""

    task: int
    pid: int


class RunFinished(NamedTuple):
    """How a Run ended.

    status: as os.waitstatus_to_exitcode gives it. problem: why it failed where the status does not say (else empty).
    tail: the last lines of its output. children: something that it started is still there. unusable: the interface
    whose data was no JSON object, so that nothing ran. exported: of a success, the variables for COMMAND: NAME=value, each ended by
    NUL.
    """

    task: int
    status: int
    problem: str
    tail: tuple[str, ...]
    seconds: float
    children: bool
    unusable: str = ""
    exported: Part = b""


Message = Diff | ReadFailed | Heartbeat | Merge | Merged | Run | Started | RunFinished
ALL: frozenset[type] = frozenset({Diff, ReadFailed, Heartbeat, Merge, Merged, Run, Started, RunFinished})
FROM_CHILDREN: frozenset[type] = frozenset({Diff, ReadFailed, Heartbeat, Merged, Started, RunFinished})


def digest(body: Part) -> str:
    """Return the digest of a body, which stands for it wherever its content is not needed."""
    return blake2b(body, digest_size=16).hexdigest()
