#!/usr/bin/env python3
"""Checks docs/paths/*.md and docs/lab/*.md: every hop written as `file` : `function` must exist.

A hop is a numbered line "1. `src/dir/file.c` : `function` - what changes hands, which thread".  The function
must be defined in that file, so that a followed path cannot rot.
"""
import pathlib
import re
import sys

top = pathlib.Path(__file__).resolve().parent.parent
bad = 0
for doc in sorted([*(top / "docs/paths").glob("*.md"), *(top / "docs/lab").glob("*.md")]):
    hops = re.findall(r"^\d+\. `([^`]+)` : `([^`]+)`", doc.read_text(), re.M)
    if not hops and not doc.name.startswith("README"):
        print(f"style: {doc.relative_to(top)}: no hop found (want: 1. `file` : `function` - ...)")
        bad += 1
    for file, function in hops:
        path = top / file
        if not path.is_file():
            print(f"style: {doc.relative_to(top)}: {file} does not exist")
            bad += 1
            continue
        # A definition: the name at the start of a declarator, body following (no ';' before '{').
        if not re.search(rf"^[A-Za-z_][^;={{}}\n]*\b{re.escape(function)}\([^;]*?\)\s*\{{", path.read_text(), re.M | re.S):
            print(f"style: {doc.relative_to(top)}: {file} defines no function {function}")
            bad += 1
sys.exit(1 if bad else 0)
