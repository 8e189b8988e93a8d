"""What a source is, and where sources are found.

To add one, write one file:

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

and name it in your package's metadata, under the type's name: `[project.entry-points."disco.sources"]`,
`mine = "mine:SOURCE"`. Then `DISCO_CFG=mine.host=10.0.0.2` uses it. All else is done around the generator, in a process
of its own: comparing, decoding, validating, sending, trying again after an error, replacing the process when it hangs,
crashes or grows.

The rules for a generator:

- It yields everything it knows, by interface, each time that something may have changed; whether it did is not its
  concern. Yielding the very same object again says: the backend answered, and nothing is new. The very same object again
  as one interface's data says so of that interface, which then costs next to nothing: what was yielded is never changed
  in place, and what has to be changed is made anew (`Tree` does both for a key/value store).
- It raises `SourceError` with a reason for people when the backend cannot be read, and is called anew later. No session
  and no cache outlives a call. What a later call must know (how new the backend's data was) is kept in `context.memory`,
  which lives as long as the process. Any other exception is told by its class alone.
- One request to the backend may take `timeout` in all, a blocking query its `wait` besides. A library that limits each of
  its reads only does not keep to that: `with deadline(seconds):` ends what is in it.
- One step (from one `yield` to the next) may take `step_limit(options, interval)`, as the last resort: a longer one is
  interrupted, and the process is killed if that does not help. A source that waits for changes has an option `wait`: how
  long one blocking query may last.
- What people should know although the backend answered (nothing at the prefix, a right that is missing) is given to
  `context.note` before the `yield`: the report shows it with the source. It stands until the next note, or the next call; an
  empty one takes it away.
- Clients, sessions and sockets are made in the generator: it runs in the source's own process.
- It never prints or logs a value, a credential, or an exception's text that may hold one. What it prints or logs is shown
  with `-l DEBUG` only; what people have to know is a `SourceError`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from disco.data.documents import DEPTH_LIMIT, Literal, is_plain, merge, strict_json
from disco.errors import ConfigurationError, Problem, SourceError, place_of
from disco.sources.options import Option, Options
from disco.system.signals import Overrun, time_limit
from disco.text import duration, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BUILT_IN = ("flat", "consul", "etcd")
GROUP = "disco.sources"
BURST, PAUSE = 2, 1.0  # requests at once, and seconds for each further one

__all__ = [
    "PAUSE",
    "Context",
    "InvalidValue",
    "Option",
    "Options",
    "Pace",
    "Problem",
    "Source",
    "SourceError",
    "Tree",
    "deadline",
    "find",
    "find_missing",
    "is_local",
    "is_same",
    "nest",
    "provided",
    "step_limit",
]

Key = TypeVar("Key", str, bytes)
Value = TypeVar("Value", str, bytes)


class Context(NamedTuple):
    """What a generator is given: its configured name, part and options, seconds between reads, and what it may provide.

    interfaces: the names that it may provide; whatever else it yields is not taken. memory: what a generator keeps for its
    next call, empty in each new process. note: takes a text for people, which is bounded and escaped by whom it is given to.
    """

    name: str
    part: str
    options: Options
    interval: float
    interfaces: frozenset[str]
    memory: dict[str, Any]
    note: Callable[[str], None] = lambda _text: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A type of source.

    watch: the generator. options: those it declares. any_key: it takes any other key too, as text. check: yields what is
    wrong with options that can only be judged together, each with an option's name as its place. place: where it reads with
    these options as this part, for people; `*` in it stands for an interface's name. text: every leaf that it yields is text,
    to be decoded by the schema. remarks: what people should know of right options, logged once at the start. doubts: what
    --check warns of in them, told as `check` tells what is wrong. parts: the names of the processes that a namespace needs,
    one blocking query each: "" is the namespace's own, any other is the name of the one interface that it provides. modules:
    what must be importable, preload: imports them, once before forking where several processes share them. extra: which
    extra of disco installs them.
    """

    watch: Callable[[Context], Iterator[Mapping[str, Any]]]
    options: tuple[Option, ...]
    any_key: bool = False
    check: Callable[[Options], Iterable[Problem]] = lambda _options: ()
    place: Callable[[Options, str], str] = lambda _options, _part: ""
    text: bool = False
    remarks: Callable[[Options], Iterable[str]] = lambda _options: ()
    doubts: Callable[[Options], Iterable[Problem]] = lambda _options: ()
    parts: Callable[[Options], tuple[str, ...]] = lambda _options: ("",)
    modules: tuple[str, ...] = ()
    preload: Callable[[], object] = lambda: None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """Stands in yielded data for a value that cannot be used: its interface is invalid, for this reason."""

    reason: str


def find(name: str, place: str) -> Source:
    """Return the source of a type; place: where the configuration names it.

    Raises:
        ConfigurationError: there is no such type, or the plug-in that brings it is broken.

    """
    if name in BUILT_IN:
        source: Source = import_module(f"disco.sources.{name}").SOURCE
        return source
    from importlib.metadata import entry_points  # noqa: PLC0415 -- slow, and only plug-ins need it

    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        known = sorted({*BUILT_IN, *entries})
        # A namespace's type is its name: `disko` is meant for disco's own options.
        remedy = nearest(name, [*known, "disco"], "for a source of any other name set NAME.type")
        raise ConfigurationError(Problem(place, f"no source type {name!r} (known: {', '.join(known)})", remedy))
    try:
        plug_in = entries[name].load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a plug-in's import may raise anything; its class is named
        what = f"source type {name!r} cannot be loaded: {type(error).__name__}"
        raise ConfigurationError(Problem(place, what, _REMEDY)) from None
    if not isinstance(plug_in, Source) or not _are(plug_in.options, Option):
        what = f"source type {name!r}: its entry point is no disco.sources.Source"
        raise ConfigurationError(Problem(place, what, _REMEDY))
    return _guard(name, plug_in)


def find_missing(name: str, source: Source, place: str) -> Iterator[Problem]:
    """Yield that a source of this type needs Python modules that are not installed."""
    if missing := [module for module in source.modules if not _importable(module)]:
        remedy = f"pip install 'disco-entrypoint[{source.extra}]'" if source.extra else "install it beside disco"
        yield Problem(place, f"source type {name!r} needs the Python module {', '.join(missing)}, which is not installed", remedy)


def _guard(name: str, source: Source) -> Source:
    """Return a plug-in's source of which whatever is called in disco's own process raises ConfigurationError alone.

    Raised is what a plug-in raises (by its class), a call of sys.exit too, and what it returns that is no answer.
    """

    def guard(what: str, call: Callable[..., Any], kind: type, *, many: bool = False) -> Callable[..., Any]:
        def ask(*given: Any) -> Any:  # noqa: ANN401 -- whatever the plug-in's function takes and gives
            try:
                answer = call(*given)
                if many and isinstance(answer, Iterable) and not isinstance(answer, str):
                    answer = tuple(answer)  # a generator's body runs here, and nowhere else
                if _are(answer, kind) if many else isinstance(answer, kind):
                    return answer
                reason = f"gave what is no {kind.__name__}"
            except (Exception, SystemExit) as error:
                if what == "type" and isinstance(error, ValueError):
                    raise  # how the type of an option says what it expected
                reason = f"raised {type(error).__name__} at {place_of(error)}"
            raise ConfigurationError(Problem(f"source type {name!r}", f"its '{what}' {reason}", _REMEDY))

        return ask

    return replace(
        source,
        options=tuple(option._replace(type=guard("type", option.type, object)) for option in source.options),
        check=guard("check", source.check, Problem, many=True),
        place=guard("place", source.place, str),
        remarks=guard("remarks", source.remarks, str, many=True),
        doubts=guard("doubts", source.doubts, Problem, many=True),
        parts=guard("parts", source.parts, str, many=True),
        preload=guard("preload", source.preload, object),
    )


def _are(values: object, kind: type) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, kind) for value in values)


def step_limit(options: Mapping[str, Any], interval: float) -> float:
    """Return how long (seconds) one step of a generator may take.

    Two requests, one blocking query with the sixteenth that Consul may add to its wait, and one pause.
    """
    wait = options.get("wait", 0.0)
    return float(2 * options["timeout"] + (wait * 17 / 16 if isinstance(wait, float) else 0.0) + interval)


def provided(options: Mapping[str, Any], part: str, known: Iterable[str]) -> frozenset[str]:
    """Return which of the known interfaces a part of a source may provide."""
    wanted = options["interfaces"]
    if wanted is None:
        return frozenset(name for name in known if part in {"", name})
    admitted = re.compile("|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in wanted))
    return frozenset(name for name in known if part in {"", name} and admitted.fullmatch(name))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Bound a whole request, whatever its library does: raise SourceError in the body of a `with` after so many seconds.

    In the main thread only, where generators run. A call into C that does not return is interrupted when it does.
    """
    try:
        with time_limit(seconds):
            yield
    except Overrun:
        raise SourceError(f"no answer within {duration(seconds)}") from None


def is_local(host: str) -> bool:
    """Return whether what goes to a host stays on this machine."""
    return host in {"localhost", "::1", "[::1]"} or host.startswith(("127.", "/"))


def is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 -- any JSON data
    """Return whether two snapshots, or two interfaces' data, hold the same; unlike `==` it tells 1, 1.0 and true apart."""
    return one == other and repr(one) == repr(other)


def build_tree(pairs: Iterable[tuple[str, bytes | InvalidValue | None]]) -> dict[str, Any]:
    """Return the nested mappings of a key/value store's keys (relative to the prefix, parts joined by `/`).

    A leading `/` and empty parts are not part of a name, a key that ends in `/` is a folder. A key that is both a value
    and a folder: a JSON object is merged under the folder's keys, its texts as they are (Literal), anything else is
    InvalidValue; so is a value that is no UTF-8, and what lies too deep.
    """
    values: dict[tuple[str, ...], str | InvalidValue] = {}
    for key, value in pairs:
        parts = tuple(part for part in key.split("/") if part)
        if not parts or key.endswith("/"):
            continue
        try:
            values[parts[:DEPTH_LIMIT]] = value if isinstance(value, InvalidValue) else (value or b"").decode()
        except UnicodeDecodeError:
            values[parts[:DEPTH_LIMIT]] = InvalidValue("is no UTF-8 text")
        if len(parts) > DEPTH_LIMIT:
            values[parts[:DEPTH_LIMIT]] = InvalidValue(f"is deeper than {DEPTH_LIMIT} levels")
    folders = {parts[:end] for parts in values for end in range(1, len(parts))}
    tree: dict[str, Any] = {}
    for parts, leaf in sorted(values.items()):  # a key sorts before what is below it
        node = tree
        for part in parts[:-1]:
            if isinstance(node.get(part), InvalidValue):
                break  # and so is all below it
            if not isinstance(node.get(part), dict):  # not there, or in a JSON object: the folder's keys win
                node[part] = {}
            node = node[part]
        else:
            node[parts[-1]] = merge(node.get(parts[-1]), _as_folder(leaf)) if parts in folders else leaf
    return tree


class Pace:
    """A token bucket: BURST requests at once, then one each PAUSE seconds (each `interval`, if that is less).

    A store that is written to all the time, or a server that does not block, must not be asked without end; a fixed
    pause would delay each single change.
    """

    def __init__(self, interval: float) -> None:
        """Begin with a full bucket."""
        self._pause = min(interval, PAUSE)
        self._due = 0.0

    def wait(self) -> None:
        """Sleep until the next request may be made."""
        now = time.monotonic()
        self._due = max(self._due, now - self._pause * (BURST - 1))
        time.sleep(max(0.0, self._due - now))
        self._due += self._pause


class Tree(Generic[Key, Value]):
    """The keys of a key/value store as `build_tree` makes mappings of them, by interface: made anew where a key changed only.

    interfaces: the known ones; of the others the keys are kept without their values, and `foreign` stands for their data.
    path: what a key is called below the prefix. content: the bytes of a value as it is kept, which is looked into only when
    its interface is made.
    """

    def __init__(
        self,
        interfaces: frozenset[str],
        path: Callable[[Key], str],
        content: Callable[[Value], bytes | InvalidValue],
        foreign: Any = None,  # noqa: ANN401 -- whatever the source yields
    ) -> None:
        """Begin without any key."""
        self._interfaces = interfaces
        self._path: Callable[[Key], str] = path
        self._content: Callable[[Value], bytes | InvalidValue] = content
        self._foreign = foreign
        self._values: dict[Key, Value | None] = {}
        self._keys: dict[str, set[Key]] = {}  # by interface
        self._changed: set[str] = set()  # interfaces

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def put(self, key: Key, value: Value) -> Value | None:
        """Take a key's value; return it if it is kept."""
        interface = self._interface(key)
        kept = self._values[key] = value if interface in self._interfaces else None
        self._keys.setdefault(interface, set()).add(key)
        self._changed.add(interface)
        return kept

    def delete(self, key: Key) -> Value | None:
        """Forget a key that is there; return its value if that was kept."""
        interface = self._interface(key)
        self._keys[interface].remove(key)
        if not self._keys[interface]:
            del self._keys[interface]
        self._changed.add(interface)
        return self._values.pop(key)

    def __contains__(self, key: Key) -> bool:
        """Return whether a key is there."""
        return key in self._values

    def replace(self, values: Mapping[Key, Value]) -> None:
        """Take all keys anew: those that are missing are gone, and of the others those count whose value is another."""
        held = self._values
        gone = [key for key in held if key not in values]
        other = [key for key, value in values.items() if held.get(key, _ABSENT) != value]
        for key in gone:
            self.delete(key)
        for key in other:
            if held.get(key, _ABSENT) is not None:  # a foreign key that is there (None) has nothing that could change
                self.put(key, values[key])

    def build_tree(self, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return all interfaces; `before`, or of it what is the same, as the very same objects.

        before: what was returned last by this tree, or by one that this tree takes the place of.
        """
        known = before or {}
        found = {}
        for interface in sorted(self._keys):
            if interface in known and interface not in self._changed:
                found[interface] = known[interface]
            else:
                for name, data in self._make(interface).items():
                    found[name] = known[name] if name in known and is_same(data, known[name]) else data
        self._changed.clear()
        if before is not None and before.keys() == found.keys() and all(before[name] is found[name] for name in found):
            return before
        return found

    def _make(self, interface: str) -> dict[str, Any]:
        """Return an interface under its name; nothing if it has only folders."""
        # Sorted: where a name is there twice, with and without a further `/`, the same one wins whatever came last.
        keys = sorted(self._keys[interface])
        if interface in self._interfaces:
            values = ((key, self._values[key]) for key in keys)
            return build_tree((self._path(key), None if value is None else self._content(value)) for key, value in values)
        return {interface: self._foreign} if interface and any(not self._path(key).endswith("/") for key in keys) else {}

    def _interface(self, key: Key) -> str:
        return self._path(key).lstrip("/").partition("/")[0]


_ABSENT = object()
_REMEDY = "correct the plug-in, or remove the source"


def _as_folder(leaf: str | InvalidValue) -> dict[str, Any] | InvalidValue:
    if isinstance(leaf, InvalidValue):
        return leaf
    if not leaf.strip():
        return {}
    try:
        data = strict_json(leaf)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return InvalidValue("is both a value and a folder; only a JSON object can be both")
    return _literally(data) if is_plain(data) else InvalidValue("holds half of a character (a lone surrogate)")


def _literally(data: Any) -> Any:  # noqa: ANN401 -- any JSON data
    """Return data from JSON among texts that are decoded later: its own are what they are."""
    if isinstance(data, dict):
        return {key: _literally(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_literally(value) for value in data]
    return Literal(data) if isinstance(data, str) else data


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
