#!/bin/sh
# Builds the book of docs/ into target/book (make docs).
set -eu
cd "$(dirname "$0")/.."

mdbook=$(scripts/ensure-mdbook.sh)
mermaid=$(scripts/ensure-mermaid.sh)
staged=target/book-source
rm -rf "$staged" target/book
mkdir -p "$staged"
cp docs/book/book.toml docs/book/book.css docs/book/diagrams.js "$staged/"
cp "$mermaid" "$staged/mermaid.min.js"
python3 scripts/docs.py stage "$staged/src"
"$mdbook" build "$staged" --dest-dir "$PWD/target/book"
python3 scripts/docs.py report . >target/book-report.txt
python3 scripts/docs.py check target/book
echo "target/book-report.txt has the words and the lengths of sentences"
