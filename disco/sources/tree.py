"""Folders with one file for each key: mounted ConfigMaps and Secrets of Kubernetes, Docker's secrets, systemd's credentials.

Here are the loop and the declaration. `tree_look` finds out which files there are, `tree_read` reads them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from disco.errors import Problem
from disco.sources import Context, KeyTree, Option, Options, Source, SourceError
from disco.sources.options import interface, path, words
from disco.sources.tree_look import Layout, look_at
from disco.sources.tree_read import SETTLE, is_recent, is_same, read
from disco.text import NAME_LIMIT, escape, plural, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from disco.sources.keys import InvalidValue
    from disco.sources.tree_changes import Changes
    from disco.sources.tree_look import TreeLook

REST = 4  # times as long as a look took there is none
NAMES = 5  # shown in a note


def watch(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield what is in the files: looked at when the kernel tells of a change, and each `interval`, for it does not always tell."""
    reader = _Reader(context)
    patience = context.options.get("timeout", 0.0)
    changes: Changes | None = None
    note, due, was_woken = "", 0.0, False
    try:
        while True:
            began = time.monotonic()
            try:
                is_news = reader.look()
            except SourceError as error:  # a look costs little: no need to wait ever longer for a folder
                raise SourceError(error.reason, retry_after=context.interval) from None
            now = time.monotonic()
            before, note = note, "; ".join((*reader.explain(), *(changes.explain() if changes else ())))
            if is_news or now >= due or note != before:
                context.note(note)
                yield reader.data
                due = now if is_news else now + patience  # a second good look ends an earlier trouble
            if changes is None:
                from disco.sources.tree_changes import Changes  # noqa: PLC0415 -- the first data does not wait for it

                changes = Changes(str(context.options["path"]))
            changes.follow(reader.folders)
            if was_woken and not is_news:
                time.sleep(SETTLE)  # changes that change nothing may come without end
            pause = context.interval if is_news else max(context.interval, min(REST * (now - began), patience))
            was_woken = changes.wait(pause)
    finally:
        if changes:
            changes.close()


class _Reader:
    """What has been read, and of which look that is."""

    def __init__(self, context: Context) -> None:
        self.data: Mapping[str, Any] = {}
        self._name = context.name
        self._layout = Layout(
            root=str(context.options["path"]),
            interface=context.options["interface"],
            keys=dict(context.options["map"]),
            interfaces=context.interfaces,
        )
        self._seen: TreeLook | None = None
        self._was_recent = False

    def look(self) -> bool:
        """Look at the folder, and read it if it may have changed; return whether it has.

        Raises:
            SourceError: it cannot be read.

        """
        look = look_at(self._layout)
        before, is_news = self.data, self._seen is None or not is_same(look, self._seen)
        # What was read moments after it changed may have changed again since, without its time stamp showing it.
        if is_news or self._was_recent:
            look, contents = read(self._layout, look, self._seen)
            keys: KeyTree[str, bytes | InvalidValue] = KeyTree(self._layout.interfaces, str, lambda content: content)
            keys.replace(dict.fromkeys(look.foreign, b"") | contents)
            self.data = keys.build_tree(self.data)
            self._was_recent = is_recent(look)
        self._seen = look
        return is_news or self.data is not before

    @property
    def folders(self) -> Mapping[str, tuple[int, int]]:
        """The folders that were looked into, by place."""
        return self._seen.folders if self._seen else {}

    def explain(self) -> Iterator[str]:
        """Yield what people should know of what was seen."""
        look = self._seen
        if look is None:
            return
        if look.skipped:
            yield f"{plural(len(look.skipped), 'name')} left out: {_some(look.skipped)}"
        if look.loose and not self._layout.interface:
            what = f"{plural(len(look.loose), 'file')} directly in the folder, where they have no interface: {_some(look.loose)}"
            yield f"{what}; set {self._name}.interface or {self._name}.map"
        missing = [
            file
            for file, key in self._layout.keys.items()
            if key not in look.files and key.partition("/")[0] in self._layout.interfaces
        ]
        if missing:
            yield f"{self._name}.map names what is no file there: {_some(missing)}"
        elif not (look.files or look.foreign):
            yield "no file there: is it mounted?"


def _some(names: Iterable[str]) -> str:
    return shorten([escape(name, NAME_LIMIT) for name in sorted(names)], NAMES)


def take_map(value: str) -> tuple[tuple[str, str], ...]:
    """Take a list of FILE=INTERFACE/KEY joined by commas; a file's name may have folders, a key any number of parts, or none."""
    pairs = [tuple(part.strip().strip("/") for part in pair.partition("=")[::2]) for pair in words(value)]
    for file, key in pairs:
        parts = [*file.split("/"), *key.split("/")]
        if not all(parts) or any(part.startswith("..") for part in file.split("/")):
            raise ValueError("a list like db_password=db/password, the file's name first, joined by ','")
    return tuple((file, key) for file, key in pairs)


def _check(options: Options) -> Iterator[Problem]:
    if not options["path"]:
        yield Problem("path", "expected the path of a folder", "set it")
    for number, what in ((0, "file"), (1, "key")):
        names = [pair[number] for pair in options["map"]]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem("map", f"names the {what} {escape(name, NAME_LIMIT)} twice", "remove one of the two")


def _provides(options: Options, _part: str, interfaces: frozenset[str]) -> frozenset[str]:
    if not options["interface"]:
        return interfaces
    return interfaces & {options["interface"], *(key.partition("/")[0] for _, key in options["map"])}


def _place(options: Options, _part: str) -> str:
    return str(options["path"]) if options["interface"] or options["map"] else f"{options['path']}/*"


SOURCE = Source(
    watch=watch,
    place=_place,
    text=True,
    check=_check,
    provides=_provides,
    options=(
        Option(
            name="path",
            type=path,
            env="CREDENTIALS_DIRECTORY",
            help="the folder with one file for each key",
        ),
        Option(
            name="interface",
            type=interface,
            default="",
            help="the interface that all files belong to; not set: the folder that a file is in is its interface",
        ),
        Option(
            name="map",
            type=take_map,
            default=(),
            help="keys of files that are called otherwise, like db_password=db/password,api_key=app/key",
        ),
    ),
)
