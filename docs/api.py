"""The API reference, made of the docstrings.

    python docs/api.py                     # writes docs/API.md
    python docs/api.py --html build/docs   # HTML, by pdoc

`make docs` does both. What is public is what `__all__` names, and every error and event.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

PAGE = Path(__file__).with_name("API.md")
MODULES = ("seqcast", "seqcast.errors", "seqcast.events", "seqcast.testing")
BESIDE = ("seqcast.batch.Arrays", "seqcast.checkpoint.Saved", "seqcast.reception.Repair")
"""What calls of the public names take or give, and is not among them."""

MADE_HERE = ("App", "Batch", "Configuration", "SeqcastError", "Ticket")
"""Classes whose objects come from calls, and are not made by apps; of errors it goes without saying."""

PROTOCOLS = ("__iter__", "__aiter__", "__getitem__", "__await__")
"""Methods without a name of their own that are shown when they have a docstring."""

LINE_CHARACTERS = 100
"""A signature that is longer has one line for each parameter."""

HEAD = """# API

What apps import, from the docstrings: `make docs` writes this page anew, and a test says when it is stale. `make docs`
also puts HTML with the same into `build/docs`. [TUTORIAL.md](TUTORIAL.md) is the way in, [HOWTO.md](HOWTO.md) has an
answer for each single problem.
"""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign


@frozen
class Entry:
    """One name: where it is at home, its definition there, and the docstring that stands in or below it."""

    name: str
    home: ModuleType
    definition: Definition
    text: str


def main() -> None:
    """Write what the arguments ask for."""
    if sys.argv[1:2] == ["--html"]:
        write_html(Path(sys.argv[2]))
    else:
        PAGE.write_text(page(), encoding="utf-8")


def write_html(directory: Path) -> None:
    """Have pdoc write HTML. It looks for names in the module itself, and finds none that is loaded at first use."""
    import pdoc  # noqa: PLC0415  (not there where only the page is checked)

    # What attrs takes over from a converter has the names of another module.
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    seqcast = importlib.import_module("seqcast")
    for name in seqcast.__all__:
        setattr(seqcast, name, getattr(seqcast, name))
    pdoc.pdoc(*MODULES, *sorted({each.rpartition(".")[0] for each in BESIDE}), output_directory=directory)


def page() -> str:
    """The text of docs/API.md."""
    parts = [HEAD]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## {name}\n", f"{inspect.getdoc(module)}\n"]
        for entry in entries(module):
            parts += shown(entry)
    parts.append("## Beside them\n")
    for dotted in BESIDE:
        home, _, name = dotted.rpartition(".")
        parts += shown(find(importlib.import_module(home), name), dotted)
    return "\n".join(parts)


def entries(module: ModuleType) -> Iterator[Entry]:
    """The public names of a module, in the order of `__all__`, else in that of the file."""
    for name in getattr(module, "__all__", None) or own_names(module):
        yield find(home_of(module, name), name)


def own_names(module: ModuleType) -> list[str]:
    """The public names that a module defines."""
    return [name for name in definitions(parsed(module).body) if not name.startswith("_")]


def home_of(module: ModuleType, name: str) -> ModuleType:
    """The module that defines a public name."""
    homes: dict[str, str] = getattr(module, "_HOMES", {})
    value = getattr(module, name)
    own = value.__module__ if inspect.isclass(value) or inspect.isfunction(value) else module.__name__
    return importlib.import_module(homes.get(name, own))


def find(home: ModuleType, name: str) -> Entry:
    """A name of a module, with its docstring."""
    definition, text = definitions(parsed(home).body)[name]
    return Entry(name, home, definition, text)


def parsed(module: ModuleType) -> ast.Module:
    """The source of a module."""
    return ast.parse(inspect.getsource(module))


def definitions(body: list[ast.stmt]) -> dict[str, tuple[Definition, str]]:
    """What a module or class defines by name: a docstring is inside, or is the string that follows."""
    found: dict[str, tuple[Definition, str]] = {}
    for statement, after in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not overloaded(statement):
                    found[name] = (statement, ast.get_docstring(statement) or "")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[name] = (statement, inspect.cleandoc(text))
                    case _:
                        found[name] = (statement, "")
    return found


def decorators(definition: Definition) -> list[str]:
    """The decorators of a class or function, as they are written."""
    return [ast.unparse(each) for each in getattr(definition, "decorator_list", ())]


def overloaded(definition: Definition) -> bool:
    """Whether this is one of several signatures, or a setter: the docstring is at another."""
    return any(
        each == "overload" or each.endswith((".setter", ".default")) for each in decorators(definition)
    )


def shown(entry: Entry, title: str | None = None) -> list[str]:
    """The paragraphs about one name."""
    definition = entry.definition
    parts = [f"### {title or entry.name}\n"]
    match definition:
        case ast.ClassDef():
            bases = [ast.unparse(base) for base in definition.bases]
            made_here = entry.name in MADE_HERE or "ABC" in bases or "SeqcastError" in bases
            parts += [] if made_here else [fenced(call(entry.name, constructor(entry)))]
            errors = [base for base in bases if base.endswith(("Error", "Exception"))]
            parts += [f"{entry.text}\n"]
            parts += [f"Inherits from {' and '.join(f'`{base}`' for base in errors)}.\n"] if errors else []
            parts += members(entry, definition)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            parts += [fenced(signature(entry.home, definition)), f"{entry.text}\n"]
        case _:
            value = definition.value
            parts += [fenced(f"{entry.name} = {ast.unparse(value) if value else ''}"), f"{entry.text}\n"]
    return parts


def members(entry: Entry, definition: ast.ClassDef) -> list[str]:
    """The attributes that have a docstring, properties and methods of a class."""
    parts: list[str] = []
    attributes: list[str] = []
    for name, (member, text) in definitions(definition.body).items():
        if not text or (name.startswith("_") and name not in PROTOCOLS):
            continue
        match member:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if "property" in decorators(member):
                    kind = f": {ast.unparse(member.returns)}" if member.returns else ""
                    attributes.append(f"- `{name}{kind}`: {' '.join(text.split())}")
                else:
                    parts += [
                        f"#### {entry.name}.{name}\n",
                        fenced(signature(entry.home, member)),
                        f"{text}\n",
                    ]
            case ast.AnnAssign():
                attributes.append(f"- `{name}: {ast.unparse(member.annotation)}`: {' '.join(text.split())}")
            case ast.Assign():
                attributes.append(f"- `{name} = {ast.unparse(member.value)}`: {' '.join(text.split())}")
    return ["\n".join(attributes) + "\n", *parts] if attributes else parts


# signatures


def constructor(entry: Entry) -> list[str]:
    """The parameters with which a class is made: those of its `__init__`, else its fields."""
    definition = entry.definition
    assert isinstance(definition, ast.ClassDef)
    within = definitions(definition.body)
    if "__init__" in within:
        own = within["__init__"][0]
        assert isinstance(own, ast.FunctionDef)
        return parameters(entry.home, own.args)[1:]
    keywords_only = any("kw_only=True" in each for each in decorators(definition))
    made = {name for name, (member, _) in within.items() if isinstance(member, ast.AnnAssign)}
    later = defaults_below(definition)
    positional, named = [], []
    for name, (member, _) in within.items():
        if name not in made or name.startswith("_"):
            continue
        assert isinstance(member, ast.AnnAssign)
        settings = field_settings(member)
        if settings.get("init") == "False":
            continue
        default = later.get(name) or default_of(entry.home, member, settings)
        kind = taken_by(entry.home, settings.get("converter")) or ast.unparse(member.annotation)
        text = f"{name}: {kind}" + (f" = {default}" if default else "")
        (named if keywords_only or settings.get("kw_only") == "True" else positional).append(text)
    return [*positional, *(["*", *named] if named else [])]


def taken_by(home: ModuleType, converter: str | None) -> str | None:
    """What a field takes that has a converter."""
    if converter == "Path":
        return "str | Path"
    function = getattr(home, converter, None) if converter else None
    if not inspect.isfunction(function):
        return None
    kind = next(iter(inspect.signature(function).parameters.values())).annotation
    alias = definitions(parsed(importlib.import_module(function.__module__)).body).get(kind)
    return ast.unparse(alias[0].value) if alias and isinstance(alias[0], ast.Assign) else str(kind)


def defaults_below(definition: ast.ClassDef) -> dict[str, str]:
    """Fields whose default is made by a method."""
    return {
        each.removesuffix(".default"): "..."
        for member in definition.body
        if isinstance(member, ast.FunctionDef)
        for each in decorators(member)
        if each.endswith(".default")
    }


def field_settings(member: ast.AnnAssign) -> dict[str, str]:
    """What is given to `field(...)`, as it is written."""
    match member.value:
        case ast.Call(func=ast.Name(id="field"), keywords=keywords):
            return {each.arg: ast.unparse(each.value) for each in keywords if each.arg}
        case _:
            return {}


def default_of(home: ModuleType, member: ast.AnnAssign, settings: dict[str, str]) -> str:
    """The default of a field; "" when it has none."""
    if member.value is None:
        return ""
    if not is_field(member):
        return valued(home, member.value)
    if "factory" in settings:
        return f"{settings['factory']}()"
    if "default" not in settings:
        return ""
    return valued(home, ast.parse(settings["default"], mode="eval").body)


def is_field(member: ast.AnnAssign) -> bool:
    """Whether a value is made by `field(...)`."""
    return isinstance(member.value, ast.Call) and ast.unparse(member.value.func) == "field"


def valued(home: ModuleType, default: ast.expr) -> str:
    """A default as people want to see it: a number instead of the name of a constant that is not public."""
    text = ast.unparse(default)
    value: Any = getattr(home, text, None) if isinstance(default, ast.Name) else None
    public = importlib.import_module("seqcast").__all__
    if isinstance(value, (int, float, tuple)) and text not in public:
        return repr(value)
    return "..." if isinstance(default, ast.Lambda) else text


def parameters(home: ModuleType, arguments: ast.arguments) -> list[str]:
    """The parameters of a function, with their defaults."""
    plain = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    found = list(described(home, zip(plain, [*missing, *arguments.defaults], strict=True)))
    if arguments.vararg:
        found.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        found.append("*")
    found += described(home, zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return [*found, f"**{ast.unparse(arguments.kwarg)}"] if arguments.kwarg else found


def described(home: ModuleType, pairs: Iterable[tuple[ast.arg, ast.expr | None]]) -> Iterator[str]:
    """Parameters as they are shown."""
    for argument, default in pairs:
        yield ast.unparse(argument) + (f" = {valued(home, default)}" if default is not None else "")


def signature(home: ModuleType, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The call of a function or method, without its `self`."""
    inside = [each for each in parameters(home, function.args) if each not in ("self", "cls")]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    prefix = "await " if isinstance(function, ast.AsyncFunctionDef) and function.name != "__aiter__" else ""
    return prefix + call(function.name, inside) + returns


def call(name: str, inside: list[str]) -> str:
    """A call, over several lines when it is long."""
    text = f"{name}({', '.join(inside)})"
    if len(text) <= LINE_CHARACTERS:
        return text
    return "\n".join([f"{name}(", *(f"    {each}," for each in inside), ")"])


def fenced(text: str) -> str:
    """A block of code."""
    return f"```python\n{text}\n```\n"


if __name__ == "__main__":
    main()
