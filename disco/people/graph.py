"""--graph: a site as a Mermaid flowchart. It shows no secret and no argument of a handler or of COMMAND, which may be one."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from disco.text import NAME_LIMIT, escape, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from disco.site.loading import Site, SourceProcess

NAMES_LIMIT = 5  # variables at one arrow
# Markdown and Mermaid's own syntax must not be seen in a label. Mermaid also drops a `;` from lines that seem to hold one of
# its words `style` and `classDef`, so these lose a letter to an entity too.
_MARKUP = r"[^\w ./:,()-]|(?<![^\W_])_|_(?![^\W_])|^[-+]|[.)](?= )|(?<=sty)l(?=e)|(?<=class)D(?=ef)|(?<=/)/"


def draw(site: Site, command: Sequence[str]) -> str:
    """Return a flowchart of a site without errors: sources, interfaces, rules, handlers, COMMAND."""
    of_parts = (process.part for process in site.processes if process.part)
    interfaces = {name: f"i{n}" for n, name in enumerate(dict.fromkeys([*site.named_interfaces(), *of_parts]))}
    handlers = {name: f"h{n}" for n, name in enumerate(dict.fromkeys(rule.argv[0] for rule in site.rules))}
    rules = {rule.name: f"r{n}" for n, rule in enumerate(site.rules)}
    names = [PurePath(program).name for program in handlers]
    lines = [f's{n}[("{_label(_describe(process))}")]' for n, process in enumerate(site.processes)]
    # In a box of their own, so that a source that may give any of them needs one arrow.
    if interfaces:  # an empty box would be drawn as a node
        lines += ["subgraph interfaces", *(f'{node}(["{_label(name)}"])' for name, node in interfaces.items()), "end"]
    lines += [f'{rules[rule.name]}["{_label(rule.name)}"]' for rule in site.rules]
    for (program, node), name in zip(handlers.items(), names, strict=True):
        lines.append(f'{node}[["{_label(name if names.count(name) == 1 else program)}"]]')
    lines.append(f'command{{{{"{_label(command[0] if command else "COMMAND")}"}}}}')
    for n, process in enumerate(site.processes):
        if process.is_declared or process.part:
            provided = process.interfaces if process.is_declared else {process.part}
            lines += [f"s{n} --> {node}" for name, node in interfaces.items() if name in provided]
        elif interfaces:
            lines.append(f"s{n} --> interfaces")
    for rule in site.rules:
        arrow = "-- any -->" if rule.any else "-->"
        lines += [f"{interfaces[name]} {arrow} {rules[rule.name]}" for name in rule.interfaces]
        lines += [f"{rules[name]} -. after .-> {rules[rule.name]}" for name in rule.after]
        lines.append(f"{rules[rule.name]} --> {handlers[rule.argv[0]]}")
    for program, node in handlers.items():
        exported = list(dict.fromkeys(name for rule in site.rules if rule.argv[0] == program for name in rule.export))
        lines.append(f'{node} -->|"{_label(shorten(exported, NAMES_LIMIT))}"| command' if exported else f"{node} --> command")
    return "".join(f"{line}\n" for line in ["flowchart LR", *(f"    {line}" for line in lines)])


def _describe(process: SourceProcess) -> str:
    type_ = process.settings.type
    return process.name if process.settings.name == type_ else f"{process.name} ({type_})"


def _label(text: str) -> str:
    """Return text for a quoted label."""
    return re.sub(_MARKUP, lambda match: f"#{ord(match[0])};", escape(text, NAME_LIMIT))
