"""Builds the site: `python book OUT` writes OUT/html from OUT/source. No network is needed."""
import os
import sys
from pathlib import Path

from sphinx.cmd.build import build_main
from stage import stage

out = Path(sys.argv[1] if len(sys.argv) > 1 else "_book").resolve()
stage(out / "source", repository=os.environ.get("DDAD_REPOSITORY", ""))
here = str(Path(__file__).resolve().parent)
how = ["-W", "--keep-going", "-q", "-E", "-j", "auto", "-c", here, "-d", str(out / "doctrees"),
       "-D", f"html_extra_path={out / 'source/extra'}"]
status = build_main([*how, str(out / "source"), str(out / "html"), *sys.argv[2:]])
if not status: print(f"The book: {out / 'html' / 'index.html'}")
sys.exit(status)
