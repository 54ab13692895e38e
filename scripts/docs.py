"""Prepares the pages of docs/ for mdBook, and checks the book that it built. scripts/docs.sh calls it.

stage FOLDER  copies docs/ into FOLDER. Files of the repository that pages link to are copied below FOLDER/repository, so that the
              book is complete, and the links lead there.
report FOLDER prints the words and the lengths of sentences of the documents in a clone of the repository.
check FOLDER  fails if a link, an anchor, a script, a style or a picture of the book leads nowhere, or to another host.
"""

import html.parser
import os
import pathlib
import re
import shutil
import sys
import urllib.parse

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)|!\[([^\]]*)\]\(([^)\s]+)\)")
BLOCK = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def in_book(path: str) -> str:
    """Where a file of the repository is in the book."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # A browser shows a text; it would offer to save YAML or Rust. ARCHITECTURE.md is the only page
    # outside docs/.
    return f"repository/{path}" if path.endswith((".html", "ARCHITECTURE.md")) else f"repository/{path.removesuffix('.md')}.txt"


def stage(folder: pathlib.Path) -> None:
    shutil.copytree("docs", folder, ignore=shutil.ignore_patterns("book"))
    waiting = [str(path) for path in pathlib.Path("docs").rglob("*.md")]
    known = set(waiting)
    while waiting:
        page = waiting.pop()
        text = pathlib.Path(page).read_text()

        def moved(link: str) -> str:
            target, hash_, anchor = link.partition("#")
            if not target or re.match(r"[a-z]+:", target):
                return link
            path = os.path.normpath(os.path.join(os.path.dirname(page), target))
            if path.startswith("docs/"):
                # mdBook makes index.html of a README.
                link = link if page.startswith("docs/") else relative(path) + hash_ + anchor
                return link if page == "docs/SUMMARY.md" else link.replace("README.md", "index.md")
            if os.path.isdir(path):
                return relative(listing(path))
            if not os.path.isfile(path):
                sys.exit(f"{page} links to {link}, which is no file")
            if path not in known:
                known.add(path)
                if path.endswith("ARCHITECTURE.md"):
                    waiting.append(path)
                else:
                    copy = folder / in_book(path)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
            return relative(path) + hash_ + anchor

        def listing(path: str) -> str:
            """Copies the files of a folder, and makes a page that lists them."""
            names = sorted(name for name in os.listdir(path) if os.path.isfile(os.path.join(path, name)))
            copy = folder / "repository" / path
            copy.mkdir(parents=True, exist_ok=True)
            for name in names:
                shutil.copyfile(os.path.join(path, name), copy / f"{name}.txt")
            items = "".join(f'<li><a href="{name}.txt">{name}</a></li>' for name in names)
            (copy / "index.html").write_text(f"<!doctype html><title>{path}</title><h1>{path}</h1><ul>{items}</ul>\n")
            return f"{path}/index.html"

        def relative(path: str) -> str:
            return os.path.relpath(in_book(path), os.path.dirname(in_book(page)) or ".")

        def rewritten(match: re.Match) -> str:
            if match[4]:
                return f"![{match[3]}]({moved(match[4])})"
            # The text of a link may be a picture or code.
            return f"[{match[1]}]({moved(match[2])})"

        parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
        parts[::2] = [LINK.sub(rewritten, part) for part in parts[::2]]
        copy = folder / in_book(page)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("".join(parts))
    summary = (folder / "SUMMARY.md").read_text()
    # mdBook renders only what its summary lists.
    listed = {os.path.normpath(link) for link in re.findall(r"\]\(([^)]+)\)", summary)}
    missing = sorted(in_book(path) for path in known if in_book(path).endswith(".md") and in_book(path) not in listed | {"SUMMARY.md"})
    if missing:
        sys.exit(f"docs/SUMMARY.md does not list {', '.join(missing)}")


class Page(html.parser.HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and given.get("href"):
            self.loaded.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(given["src"])


def check(folder: pathlib.Path) -> None:
    pages = {path: Page(path.read_text()) for path in folder.rglob("*.html")}
    faults, links = [], 0
    for path, page in pages.items():
        for link in page.links + page.loaded:
            links += 1
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    faults.append(f"{path} loads {link}")
                continue
            # mdBook's page of errors has addresses from the root.
            if path.name in ("404.html", "print.html", "toc.html"):
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path.resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                faults.append(f"{path} links to {link}, which is not there")
            elif parts.fragment and target.suffix == ".html":
                of = pages.get(folder / target.relative_to(folder.resolve()))
                if of and urllib.parse.unquote(parts.fragment) not in of.ids:
                    faults.append(f"{path} links to {link}, which has no such anchor")
    if faults:
        sys.exit("\n".join(faults))
    print(f"target/book has {len(pages)} pages; all {links} links lead somewhere")


def sentences(text: str) -> list[str]:
    """The sentences of the prose of a page: no code, no tables, no headings, no comments."""
    text = re.sub(r"^\s*```.*?^\s*```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`\n]*`", "code", text)
    lines = ["" if re.match(r"\s*([|#>]|!\[)", line) else line for line in text.split("\n")]
    # An item of a list begins a sentence.
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    found = []
    for block in blocks:
        block = re.sub(r"^\s*(?:[-*]|\d+\.) ", "", block)
        found += re.split(r"(?<=[.!?:])\s+(?=[\w*\"“+])", " ".join(block.split()))
    return [sentence for sentence in found if len(re.findall(r"\w+", sentence)) > 1]


def report(root: pathlib.Path) -> None:
    pages = sorted(path for path in root.glob("docs/**/*.md") if path.name != "SUMMARY.md")
    total_words, lengths = 0, []
    print(f"{'page':52} {'words':>6} {'sentences':>9} {'mean':>5} {'over 35':>7}")
    for path in [root / "README.md", root / "ARCHITECTURE.md", *pages]:
        text = path.read_text()
        words = len(text.split())
        of_page = [len(re.findall(r"[\w'’-]+", sentence)) for sentence in sentences(text)]
        total_words += words
        lengths += of_page
        mean = sum(of_page) / max(len(of_page), 1)
        long = sum(length > 35 for length in of_page)
        print(f"{str(path.relative_to(root)):52} {words:6} {len(of_page):9} {mean:5.1f} {long:7}")
    mean, long = sum(lengths) / len(lengths), sum(length > 35 for length in lengths)
    print(f"{len(pages) + 2} {'pages':49} {total_words:6} {len(lengths):9} {mean:5.1f} {long:7}")


if __name__ == "__main__":
    {"stage": stage, "check": check, "report": report}[sys.argv[1]](pathlib.Path(sys.argv[2]))
