#!/usr/bin/env python3
"""fill.py TEMPLATE PROGRAM OUT - a manual page whose list of verbs or options is the program's own.

The line '.\\" @VERBS@' becomes a section for each of hanok's verbs, '.\\" @OPTIONS@' hanok-vm's options: what the
program's help says, so that the manual never lacks one.
"""
import re
import subprocess
import sys


def help_of(program, *words):
    return subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def verbs(hanok):
    out = []
    for verb in help_of(hanok, "help", "--words").split():
        lines = help_of(hanok, "help", verb).splitlines()
        part = {}
        for line in lines:
            if re.fullmatch(r"  [A-Z]+", line):
                title = line.strip()
                part[title] = []
            elif line.strip():
                part[title].append(line.strip())
        synopsis = " ".join(part["SYNOPSIS"]).removeprefix("hanok ").removeprefix(verb).strip()
        out += [".TP", f".B {roff(verb)}\\fR {roff(synopsis)}".rstrip(), roff(part["NAME"][0].split(" - ", 1)[1]) + "."]
        for line in part.get("OPTIONS", []):
            option, text = re.match(r"(--\S+)(?: <value>)?\s+(.*)", line).groups()
            out += [".br", f"\\fB{roff(option)}\\fR: {roff(text)}"]
        if "EXAMPLE" in part:
            out += [".br", f"Example: \\fB{roff(part['EXAMPLE'][0])}\\fR"]
    return out


def options(vm):
    out, text = [], []
    for line in help_of(vm, "-help").split("\n\n", 2)[2].splitlines():
        if line.startswith("-"):
            name, _, value = line.partition(" ")
            out += text + [".TP", f"\\fB{roff(name)}\\fR {roff(value)}".rstrip()]
            text = []
        elif line.strip():
            text.append(roff(line.strip()))
    return out + text


def main():
    template, program, path = sys.argv[1:]
    with open(template) as f:
        lines = f.read().splitlines()
    fill = {'.\\" @VERBS@': verbs, '.\\" @OPTIONS@': options}
    out = []
    for line in lines:
        out += fill[line](program) if line in fill else [line]
    if out == lines:
        sys.exit(f"{template} has no place for a list")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
