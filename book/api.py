"""The API reference: a page for each part, and the parameters from the comments beside them in the code."""
import inspect
import re
from pathlib import Path

from fastcore.docments import docments

API = ("method", "plots", "features", "detect", "datasets", "rivals", "study")  # the parts with a page


def modules(part: str, about: str, repo: Path) -> str:
    "The page of a part: its modules in the order of their notebooks."
    names = [path.stem.split("_", 1)[-1] for path in sorted(repo.glob(f"nbs/{part}/*.ipynb"))]
    lines = [f"# ddad.{part}", "", about, ""]
    for name in names:
        if not (repo / f"ddad/{part}/{name}.py").is_file(): continue
        module = f"ddad.{part}.{name}"
        lines += [f"## {name}", "", f"`{module}`", ""]
        lines += ["```{eval-rst}", f".. automodule:: {module}", "   :members:", "```", ""]
    return "\n".join(lines)


def rst(text: str) -> str:
    "A docstring's line, written as in Markdown, for Sphinx: `code` as code, all other marks as they are."
    parts = re.split(r"(`+[^`]+`+)", text)
    plain = lambda part: re.sub(r"([*|\\]|(?<=\w)_(?=\W|$))", r"\\\1", part)
    return "".join(f"``{part.strip('`')}``" if i % 2 else plain(part) for i, part in enumerate(parts))


def document(app, what, name, obj, options, lines) -> None:
    "Adds the parameters and what comes back, with the comments beside them in the code."
    lines[:] = [rst(line) for line in lines]
    if what not in ("function", "method", "class"): return
    try: found = docments(obj, full=True)
    except (TypeError, ValueError, OSError, SyntaxError, AttributeError): return
    fields = []
    for parameter, facts in found.items():
        words, field = facts.get("docment"), "returns" if parameter == "return" else f"param {parameter}"
        if not words or parameter == "return" and inspect.isclass(obj): continue
        fields.append(f":{field}: {rst(' '.join(words.split()))}")
    if fields: lines += [*([""] if lines and lines[-1] else []), *fields, ""]
