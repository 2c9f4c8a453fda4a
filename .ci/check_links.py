"""Check the links between pages of the built documentation, and those of the README.

Usage: python .ci/check_links.py FOLDER, the folder that contains index.html. The pages
and the anchors of all links must exist. Links to other sites are not followed.
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

REPOSITORY = Path(__file__).parents[1]
SOURCE = "https://github.com/skae-dev/skae/blob/main/"
RAW = "https://raw.githubusercontent.com/skae-dev/skae/main/"
SITE = "https://skae.readthedocs.io/en/stable/"


class Page(HTMLParser):
    """The targets of the links of a page, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors = set(), {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.targets.update(attrs[key] for key in ("href", "src") if attrs.get(key))
        self.anchors.update(attrs[key] for key in ("id", "name") if attrs.get(key))


page_at = cache(Page)


def exists(folder, target):
    """Return whether the file and the anchor of a target below a folder exist."""
    parts = urlsplit(target)
    path = folder / unquote(parts.path)
    if path.is_dir():
        path /= "index.html"
    if path.suffix != ".html" or not path.is_file():
        return path.exists()
    return unquote(parts.fragment) in page_at(path).anchors


def broken_links(html):
    """Yield the page and the target of each broken link of the site."""
    for path in sorted(html.rglob("*.html")):
        page = path.relative_to(html).as_posix()
        if page.startswith("_static/"):
            continue
        for target in sorted(page_at(path).targets):
            is_internal = not urlsplit(target).scheme and not target.startswith("//")
            if is_internal and not exists(html, urljoin(page, target)):
                yield page, target


def broken_links_of_readme(html):
    """Yield each broken link of the README to the site or to a file."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    folders = {SITE: html, SOURCE: REPOSITORY, RAW: REPOSITORY}
    for target in re.findall(r"\]\(\s*([^)\s]+)\s*\)", text):
        for start, folder in folders.items():
            if target.startswith(start) and not exists(folder, target[len(start) :]):
                yield "README.md", target


if __name__ == "__main__":
    html = Path(sys.argv[1])
    broken = [*broken_links(html), *broken_links_of_readme(html)]
    report = "\n".join(f"{page}: broken link to {target}" for page, target in broken)
    sys.exit(report or 0)
