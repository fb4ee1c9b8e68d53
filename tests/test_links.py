"Every relative link of the notebooks, the pages and the README leads to a file."
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import words

REPO = Path(__file__).parents[1]
NOTEBOOKS = sorted([*REPO.glob("nbs/**/*.ipynb"), *REPO.glob("figures/*.ipynb")])
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)|\b(?:href|src)=[\"']([^\"']+)", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(text):
    "The relative links in Markdown, without what stands behind # or ?."
    found = (urlsplit(next(filter(None, groups))) for groups in LINK.findall(CODE.sub("", text)))
    return [unquote(link.path) for link in found if not link.scheme and not link.netloc and link.path]


def broken(path): return [link for link in links(words(path)) if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", [REPO / "README.md", *NOTEBOOKS], ids=lambda p: str(p.relative_to(REPO)))
def test_links_lead_to_files(path): assert broken(path) == []


def test_links_are_found(tmp_path):
    (tmp_path / "a b.md").write_text("")
    path = tmp_path / "x.ipynb"
    text = ("[here](a%20b.md#top) [gone](gone.md) ![picture](no.png \"title\") <img src='no.svg'> [web](https://x.org/y.md) [up](#top)\n"
            "`[code](code.md)`\n[ref]: lost.md\n")
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [text]}, {"cell_type": "code", "source": ["[x](code.md)"]}]}))
    assert broken(path) == ["gone.md", "no.png", "no.svg", "lost.md"]
    assert len(NOTEBOOKS) > 40
