#!/usr/bin/env python3
"""Reports files over 800 lines and functions over 60 (soft), fails over 1200 / 120 (hard).

Tables (files named *_table*.c, *_models.c) are exempt.  `--all` lists every soft finding; without it only a count.
"""
import pathlib
import re
import subprocess
import sys

SOFT_FILE, HARD_FILE, SOFT_FUNC, HARD_FUNC = 800, 1200, 60, 120
top = pathlib.Path(__file__).resolve().parent.parent
files = subprocess.run(["git", "ls-files", "src/*.c", "src/*.h", "src/**/*.c", "src/**/*.h"], cwd=top, check=True,
                       capture_output=True, text=True).stdout.split()
soft, hard = [], []
for name in sorted(set(files)):
    if re.search(r"(_table[^/]*|_models)\.[ch]$", name):
        continue
    path = top / name
    if not path.exists():
        continue
    lines = path.read_text().split("\n")
    if len(lines) > SOFT_FILE:
        (hard if len(lines) > HARD_FILE else soft).append(f"{name}: {len(lines)} lines")
    start = None
    for i, line in enumerate(lines):
        if line == "{":
            start = i
        elif line == "}" and start is not None:
            length = i - start + 1
            if length > SOFT_FUNC:
                header = lines[start - 1].strip()[:60]
                (hard if length > HARD_FUNC else soft).append(f"{name}:{start}: {length} lines: {header}")
            start = None
for text in hard:
    print("style: too long: " + text)
if "--all" in sys.argv:
    for text in soft:
        print("style: long: " + text)
elif soft:
    print(f"style: {len(soft)} files or functions are over the soft limits (scripts/check-sizes.py --all)")
sys.exit(1 if hard else 0)
