"""Lays out the sources of the site: notebooks without what nbdev and papermill read, with links into the site."""
import ast
import json
import os
import re
import shutil
import sys
from html import escape
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from api import API, modules

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))  # the ddad of this checkout
from ddad.study.graph import PAGES  # noqa: E402
from ddad.study.pages import findings  # noqa: E402
from ddad.study.view import explorer_page  # noqa: E402

# What a part of the book, a folder of nbs/, is called and holds
PARTS = {
    "method": ("The paper",
               "Data, networks, maps, scores and their measures, each equation beside its code."),
    "features": ("Beyond the paper", "What A_inter estimates, and the same idea on a network's features."),
    "paper": ("What we found", "Each page as it was computed from the committed scores."),
    "guides": ("Use it", "From a first detector to a run of the paper."),
    "detect": ("The detector", "Behind scikit-learn's interface, for images of your own."),
    "rivals": ("Other methods", "On the same images, and scores that learn nothing."),
    "datasets": ("Data", "The benchmarks, the phantom, and whether their test sets leak."),
    "plots": ("Pictures", "How all of them look, and the functions that draw them."),
    "study": ("Runs and pages", "Runs, their records, the graph of all of them, and the explorer."),
    "core": ("What all stands on", "Files, images, training, records."),
}
# The sidebar: by what a reader wants. A name of a page, or of a part, whose pages then stand below its own.
SIDEBAR = {"Start": ("guides/start",), "The method": ("method", "features"), "What we found": ("paper",),
           "Use it": ("guides",),
           "Under the hood": ("detect", "rivals", "datasets", "plots", "study", "core")}
OPEN = ("paper", "guides")  # parts whose pages stand in the sidebar themselves
# in this order; the others follow by name
FIRST = ("start", *PAGES, "own_data", "compare", "explore", "reproduce", "data")
EXPLORED = ("maps/Kermany_AE-U_seed0_quick.json", "runs/Kermany_AE-U_seed0", "runs/Kermany_features_seed0",
            "runs/Kermany_Thumbnail-D-n-against-D-u_seed0")  # in figures/; the runs on the site's run.html
RUNS = "figures/runs.csv"  # a link to RUNS#<one of them> opens it there; #<run>&score=rec in a view
FILES = {".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp", ".pdf", ".csv", ".json"}  # taken in if linked to

CODE = re.compile(r"```.*?```|`+[^`\n]+`+", re.DOTALL)
LINK = re.compile(
    r"""(!?)\[((?:[^\[\]]|!?\[[^\]]*\](?:\([^)]*\))?)*)\]\(\s*<?([^)\s>]+)>?(\s+"[^"]*")?\s*\)""")
PICTURE = re.compile(r'<img src="([^"]+)"')


def chapters(repo: Path = REPO) -> dict[str, Path]:
    "Each page's place in the book and its notebook: where figures/ has it executed, that one."
    found = {}
    def order(path):
        return path.parent, FIRST.index(path.stem) if path.stem in FIRST else len(FIRST), path.name
    for source in sorted(repo.glob("nbs/**/*.ipynb"), key=order):
        page = repo / "figures" / source.name
        part, executed = source.parent.name, source.parent.name == "paper" and page.is_file()
        if ".ipynb_checkpoints" in source.parts: continue
        found[f"{'core' if part == 'nbs' else part}/{source.stem}"] = page if executed else source
    return found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def stage(
    out: Path,  # a folder that is emptied first
    repo: Path = REPO,
    repository: str = "",  # address of its files on the web; "": links to what is not in the book become text
) -> None:
    "Writes the sources of the site."
    shutil.rmtree(out, ignore_errors=True)
    pages = chapters(repo)
    links = Links(repo, out, pages, repository)
    summaries = {}
    for place, path in pages.items():
        book = json.loads(path.read_text(encoding="utf-8"))
        book = prepare(book, place, lambda text, path=path, place=place: links.rewrite(text, path, place))
        summaries[place] = summary(book)
        book["cells"].append(
            {"id": "source", "cell_type": "markdown", "metadata": {}, "source": links.source(path, place)})
        write(out / f"{place}.ipynb", json.dumps(book, ensure_ascii=False))
    inside = {part: {p.removeprefix(f"{part}/"): s for p, s in summaries.items() if p.startswith(f"{part}/")}
              for part in PARTS}
    for part, chapters_ in inside.items():
        lead = gallery(repo, chapters_, out) if part == "paper" else ""
        write(out / part / "index.md", part_page(*PARTS[part], chapters_, lead=lead, listed=part not in OPEN))
    api = {part: (f"ddad.{part}", PARTS[part][1]) for part in API}
    write(out / "api/index.md",
          part_page("API", "The public functions and classes, module by module.", api, ".md"))
    for part in API: write(out / f"api/{part}.md", modules(part, PARTS[part][1], repo))
    if (repo / "figures/runs.csv").is_file():
        write(out / "extra/run.html", explorer_page([repo / "figures" / place for place in EXPLORED]))
    front = Path(__file__).with_name("index.md").read_text(encoding="utf-8")
    front = links.rewrite(front, repo / "book/index.md", "index")
    write(out / "index.md", "\n".join([front, *sidebar(inside)]))


def sidebar(inside: dict[str, dict]) -> list[str]:
    "The table of contents of each group; the API comes last."
    groups = []
    for caption, names in SIDEBAR.items():
        entries = [name for name in names if "/" in name]
        for part in (name for name in names if inside.get(name)):
            entries.append(f"{part}/index")
            entries += [f"{part}/{page}" for page in inside[part] if part in OPEN
                        and f"{part}/{page}" != "guides/start"]
        if caption == "Under the hood": entries.append("api/index")
        groups.append(toctree(entries, caption))
    return groups


# ---- pages of a part

def summary(book: dict) -> tuple[str, str]:
    "The title of a notebook, and the quotation below it, which says what it is about."
    text = "".join(book["cells"][0]["source"])
    quotation = re.search(r"(?:^> .*\n?)+", text, re.MULTILINE)
    about = re.sub(r"^> ", "", quotation[0], flags=re.MULTILINE).strip() if quotation else ""
    return text.splitlines()[0].lstrip("# "), about


def toctree(entries: list[str], caption: str = "") -> str:
    return "\n".join(
        ["```{toctree}", ":hidden:", *[f":caption: {caption}"] * bool(caption), "", *entries, "```", ""])


def part_page(title: str, about: str, inside: dict[str, tuple[str, str]], suffix: str = ".ipynb",
              lead: str = "", listed: bool = True) -> str:
    "The page of a part: its chapters, each with what it is about."
    def name(place, words): return f"{words}: {place.split('/')[-1]}" if "/" in place else words
    names = {place: name(place, title) for place, (title, _) in inside.items()}
    lines = [f"- [{names[place]}]({place}{suffix}){': ' * bool(text)}{text}"
             for place, (_, text) in inside.items()]
    entries = [f"{names[place]} <{place}>" for place in inside]
    return "\n".join([f"# {title}", "", about, "", lead, *lines, "", *[toctree(entries)] * listed])


def gallery(repo: Path, inside: dict[str, tuple[str, str]], out: Path) -> str:
    "The paper's pages on one screen: a thumbnail, which leads to its page, and the first finding of each."
    first = findings(repo / "figures").drop_duplicates("page").set_index("page").finding
    cards = []
    for page in PAGES:
        if page not in inside or page not in first: continue
        files = sorted(repo.glob(f"figures/{page}.png")) + sorted(repo.glob(f"figures/{page}_*.png"))
        title, finding = escape(inside[page][0]), escape(first[page])
        for file in files[:1]:
            (out / "extra/thumbnails").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, out / "extra/thumbnails" / file.name)
        picture = f'<img src="../thumbnails/{files[0].name}" alt="{title}">' if files else ""
        cards.append(
            f'<div><a href="{page}.html">{picture}<strong>{title}</strong></a><p>{finding}</p></div>')
    return "\n".join(['<div class="gallery">', *cards, "</div>", ""]) if cards else ""


# ---- a notebook

def prepare(book: dict, place: str, rewrite) -> dict:
    "The notebook as the book shows it; `rewrite` sees all Markdown, that of outputs too."
    heading, cells = "", []
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = next(iter(re.findall(r"^#+ +(.*)", source, re.MULTILINE)[::-1]), heading)
            cell["source"] = rewrite(source)
        elif cell["cell_type"] == "code":
            cell["metadata"]["tags"] = tags(cell, place)
            cell["metadata"]["mystnb"] = {"image": {"alt": re.sub(r"[$\\{}`]", "", heading)}}
            cell["source"] = re.sub(r"^#\|.*\n?", "", source, flags=re.MULTILINE).strip("\n")
            for output in cell["outputs"]:
                shown = output.get("data", {})
                if "text/markdown" in shown: shown["text/markdown"] = rewrite("".join(shown["text/markdown"]))
        if "remove-cell" not in cell["metadata"].get("tags", []): cells.append(cell)
    if place.startswith("paper/"): cells = one_cell_a_result(cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "pygments_lexer": "ipython3"}  # shell lines too
    return book | {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": language}}


def tags(cell: dict, place: str) -> list[str]:
    "What myst-nb is told to do with a code cell."
    source, had = "".join(cell["source"]), cell["metadata"].get("tags", [])
    directives = re.findall(r"^#\|\s*(\w+)", source, re.MULTILINE)
    if "default_exp" in directives or "hide" in directives or "injected-parameters" in had:
        return ["remove-cell"]
    plumbing = only_imports(source) and not place.startswith("paper/")  # there all code is folded
    if "hide_input" in directives or plumbing: return ["remove-input" if cell["outputs"] else "remove-cell"]
    return ["export"] * any(d.startswith("export") for d in directives)


def one_cell_a_result(cells: list[dict]) -> list[dict]:
    "An executed page with its code folded: what a result needs joins the cell that gives it."
    if not any(cell.get("outputs") for cell in cells): return cells
    kept = []
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["metadata"]["tags"] = ["hide-input"]
            if kept and kept[-1]["cell_type"] == "code" and not kept[-1]["outputs"]:
                cell["source"] = kept.pop()["source"] + "\n\n" + cell["source"]
        kept.append(cell)
    return kept


def only_imports(source: str) -> bool:
    "Whether a cell only fetches names; a cell of comments alone counts as one."
    try: tree = ast.parse(re.sub(r"^\s*%.*$", "", source, flags=re.MULTILINE))
    except SyntaxError: return False
    plain = lambda node: isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) or plain(node) for node in tree.body)


# ---- links

class Links:
    "Leads the links of a notebook to pages and files of the site."

    def __init__(self, repo: Path, out: Path, pages: dict[str, Path], repository: str):
        self.repo, self.out, self.repository = repo, out, repository.rstrip("/")
        self.place = {path: place for place, path in pages.items()}
        for place in [*self.place.values()]:
            # the source of an executed page
            if place.startswith("paper/"): self.place[repo / "nbs" / f"{place}.ipynb"] = place

    def rewrite(self, text: str, path: Path, place: str) -> str:
        "The Markdown `text` of the notebook `path`, for its page at `place`; code is left alone."
        code = []
        def away(match): return code.append(match[0]) or f"\0{len(code) - 1}\0"
        text = LINK.sub(lambda match: self.link(match, path, place), CODE.sub(away, text))
        text = PICTURE.sub(lambda match: f'<img src="{self.target(match[1], path, place) or match[1]}"', text)
        return re.sub("\0(\\d+)\0", lambda match: code[int(match[1])], text)

    def link(self, match: re.Match, path: Path, place: str) -> str:
        picture, words, target, title = match.groups(default="")
        words = LINK.sub(lambda inner: self.link(inner, path, place), words)  # a picture that is a link
        file, _, view = target.partition("#")
        if os.path.normpath(path.parent / file) == str(self.repo / RUNS) and view.split("&")[0] in {
            Path(p).stem for p in EXPLORED}:
            return f'<a href="{relative("run.html", place)}#run={escape(view)}">{words}</a>'
        found = self.target(target, path, place)
        return f"{picture}[{words}]({found}{title})" if found else words

    def target(self, target: str, path: Path, place: str) -> str | None:
        "Where a link leads in the book; None if nowhere."
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not parts.path: return target
        file = Path(os.path.normpath(path.parent / unquote(parts.path)))
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        if file in self.place: return relative(f"{self.place[file]}.ipynb", place) + anchor
        if not file.is_relative_to(self.repo) or not file.exists(): return None
        name = file.relative_to(self.repo).as_posix()
        if file.suffix in FILES:
            copy = self.out / "files" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            return relative(f"files/{name}", place)
        return f"{self.repository}/{quote(name)}{anchor}" if self.repository else None

    def source(self, path: Path, place: str) -> str:
        "Where a page comes from."
        at = self.repo / f"nbs/{place}.ipynb"
        name = (at if at.is_file() else path).relative_to(self.repo).as_posix()
        return f"*Source: [{name}]({self.repository}/{quote(name)})*" if self.repository else f"*Source: `{name}`*"


def relative(target: str, place: str) -> str: return quote(os.path.relpath(target, Path(place).parent))
