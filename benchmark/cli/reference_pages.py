"""A page for every verb, made from the command line itself: `python -m benchmark.cli.reference_pages docs/verbs` (`make docs`)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from hakuna import app

NOTE = "<!-- Made by `make docs` from the command line itself. Do not edit. -->"
EXAMPLE_WORDS = ("Example:", "Examples:")
INDEX_NAME = "index.md"


def pages() -> dict[str, str]:
    """File name and text of every page, and of the index."""
    verbs = dict(_verbs(typer.main.get_command(app), ()))
    made = {f"{'-'.join(words)}.md": _page(words, verb) for words, verb in verbs.items()}
    rows = [
        f"| [`hakuna {' '.join(words)}`]({'-'.join(words)}.md) | {_sentence(verb)} |" for words, verb in verbs.items()
    ]
    made[INDEX_NAME] = "\n".join([NOTE, "# Verbs", "", "| command | what it does |", "|---|---|", *rows, ""])
    return made


def _verbs(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
        return
    for name, one in below.items():
        yield from _verbs(one, (*words, name))


def _page(words: tuple[str, ...], verb: Any) -> str:
    text, examples = _text_and_examples(verb)
    arguments = [one for one in verb.params if one.param_type_name == "argument"]
    options = [one for one in verb.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join(["hakuna", *words, *(_usage(one) for one in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [NOTE, f"# hakuna {' '.join(words)}", "", text, "", "```", usage, "```", ""]
    if examples:
        lines += ["## Examples", "", "```", *examples, "```", ""]
    if arguments:
        lines += ["## Arguments", "", "| argument | meaning |", "|---|---|"]
        lines += [f"| `{one.name.upper()}` | {_cell(one.help)} |" for one in arguments] + [""]
    if options:
        lines += ["## Options", "", "| option | meaning | default |", "|---|---|---|"]
        lines += [f"| {_names(one)} | {_cell(one.help)} | {_default(one)} |" for one in options] + [""]
    return "\n".join(lines)


def _text_and_examples(verb: Any) -> tuple[str, list[str]]:
    lines = inspect.cleandoc(verb.help or "").replace("\f", "").splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith(EXAMPLE_WORDS)), len(lines))
    shown = [line.strip() for line in lines[start:]]
    if shown:
        shown[0] = shown[0].partition(":")[2].strip()
    return "\n".join(lines[:start]).strip(), [line for line in shown if line]


def _sentence(verb: Any) -> str:
    return _cell(_text_and_examples(verb)[0].split("\n\n")[0])


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    kind = option.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{names} {' &#124; '.join(f'`{one.value}`' for one in kind)}"
    return names


def _default(option: Any) -> str:
    if option.required:
        return "must be given"
    value = getattr(option.default, "value", option.default)
    return "" if value is None or value is False else f"`{value}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "&#124;")


def main() -> None:
    """Write the pages into the folder that is given, and remove those of verbs that are gone."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
