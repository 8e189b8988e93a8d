"""The contract of a source: all that the author of one imports, and the rules that its generator keeps.

A source is one file:

    from disco.sources import Context, Option, Source, SourceError
    from disco.sources.options import text

    def watch(context: Context) -> Iterator[Mapping[str, Any]]:
        client = connect(context.options["host"], timeout=context.options["timeout"])
        while True:
            yield {"mysql": {"host": "10.0.0.1"}}     # everything known, each time that it may have changed
            client.wait_for_change()                  # or: time.sleep(context.interval)

    SOURCE = Source(
        watch=watch,
        options=(Option(name="host", type=text, default="127.0.0.1", help="where the server is"),),
    )

Name it in your package's metadata, under the type's name: `[project.entry-points."disco.sources"]`, `mine = "mine:SOURCE"`.
Then `DISCO_CFG=mine.host=10.0.0.2` uses it. disco does all else around the generator, in a process of its own: it compares,
decodes, validates and sends, retries after an error, and replaces the process when it hangs, crashes or grows.
`disco.testing` has tests for any source, and `disco.sources.http` a client for backends that speak HTTP.

The rules for a generator:

- It yields everything it knows, by interface, each time that something may have changed. All of one snapshot is of one moment.
- The same object again says: the backend answered, and nothing is new (`is_same` compares). The same object again as one
  interface's data says so of that interface, which then costs next to nothing. So what was yielded is never changed in place,
  but made anew (`KeyTree` does both for a key/value store).
- It raises `SourceError` with a reason for people when the backend cannot be read, and is called anew later. Of any other
  exception people see the class alone.
- No session and no cache outlives a call. What a later call must know (how new the backend's data was) is kept in
  `context.memory`, which lives as long as the process.
- One request to the backend takes `timeout` at most, a blocking query its own wait besides. Where a library limits each read
  only, `with deadline(seconds):` limits the whole.
- One step (from one `yield` to the next) takes `Source.step_limit` at most. A longer one is interrupted, and the process is
  killed if that does not help. A source that waits for changes has an option `wait`, the length of one blocking query, and
  declares `step_limit=limit_blocking_step`.
- `context.note`, called before the `yield`, takes what people should know although the backend answered (nothing at the prefix,
  a missing right): the report shows it with the source. It stands until the next note or the next call; an empty one removes it.
- Clients, sessions and sockets are made in the generator, since it runs in the source's own process. Closing it closes them.
- Keys of interfaces that nobody asked for (not in `context.interfaces`) cost no memory: their names are enough.
- It never prints or logs a value, a credential, or an exception's text that may hold one. What it prints or logs is shown
  with `-l DEBUG` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from disco.errors import Problem, SourceError
from disco.named import NamedTuple
from disco.sources.keys import InvalidValue, KeyTree, build_tree, is_same
from disco.sources.options import Option, Options
from disco.sources.pace import Pace, deadline, limit_blocking_step, limit_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "Context",
    "InvalidValue",
    "KeyTree",
    "Option",
    "Options",
    "Pace",
    "Problem",
    "Source",
    "SourceError",
    "build_tree",
    "deadline",
    "is_local",
    "is_same",
    "limit_blocking_step",
]


class Context(NamedTuple):
    """What a generator is given.

    name: of the source in the configuration. part: which of `Source.parts` this process is. interval: seconds between two reads.
    interfaces: the names that it may provide; disco drops what else it yields. memory: what a generator keeps for its next
    call, empty in each new process. note: takes a text for people, which disco bounds and escapes. properties: returns the names
    that the schemas declare for the keys of a mapping, whose path begins with its interface.
    """

    name: str
    part: str
    options: Options
    interval: float
    interfaces: frozenset[str]
    memory: dict[str, Any]
    note: Callable[[str], None] = lambda _text: None
    properties: Callable[[Sequence[str]], Iterable[str]] = lambda _path: ()


class Source(NamedTuple):
    """A type of source. Only `watch` runs in the source's own process; all else is called in disco's, and must not block.

    watch: the generator.
    options: those that it declares, beside `disco.sources.options.SOURCE_OPTIONS`.
    any_key: it takes any other key too, as text.
    check: yields what is wrong with options that can only be judged together, each with an option's name as its place.
    doubts: yields what --check warns of in right options, in the same way.
    remarks: yields what people should know of right options; logged once at the start.
    place: where this part reads, for people; `*` in it stands for an interface's name.
    text: every leaf that it yields is text, to be decoded by the schema.
    parts: the names of the processes that a namespace needs, one for each blocking query. "" is the namespace's own process.
    part_option: the option that asks for the other parts.
    provides: which of the given interfaces a part can provide; by default "" all, and any other the one of its name.
    step_limit: how long (seconds) one step of the generator may take, from the options and `disco.interval`.
    modules: what must be importable. extra: the extra of disco that installs them. preload: imports them, once before forking
        where several processes share them.
    """

    watch: Callable[[Context], Iterator[Mapping[str, Any]]]
    options: tuple[Option, ...]
    any_key: bool = False
    check: Callable[[Options], Iterable[Problem]] = lambda _options: ()
    doubts: Callable[[Options], Iterable[Problem]] = lambda _options: ()
    remarks: Callable[[Options], Iterable[str]] = lambda _options: ()
    place: Callable[[Options, str], str] = lambda _options, _part: ""
    text: bool = False
    parts: Callable[[Options], tuple[str, ...]] = lambda _options: ("",)
    part_option: str = ""
    provides: Callable[[Options, str, frozenset[str]], Iterable[str]] = lambda _options, part, interfaces: (
        interfaces & {part} if part else interfaces
    )
    step_limit: Callable[[Options, float], float] = limit_step
    modules: tuple[str, ...] = ()
    extra: str = ""
    preload: Callable[[], object] = lambda: None


def is_local(host: str) -> bool:
    """Return whether what goes to a host stays on this machine."""
    return host in {"localhost", "::1", "[::1]"} or host.startswith(("127.", "/"))
