#!/usr/bin/env python3
"""Every verb and option that the programs know is in their manual pages and their completions."""
import os
import re
import subprocess
import sys
from pathlib import Path

from manager import need
from vmtest import TOP, run_tests

BUILD = Path(os.environ["HANOK"]).parent
TABLE = re.compile(r"(?:^|[\[\s|])(--?[A-Za-z][A-Za-z-]*)")


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def manual(page, where=BUILD / "man"):
    text = (where / page).read_text()
    return re.sub(r"\\f[BIRP]|\\&", "", text).replace("\\-", "-")


def completed(script, function, lines):
    """What bash offers for each line (a list of words, the last one is being typed)."""
    code = [f"PATH={BUILD}:$PATH; source {TOP}/completions/{script}"]
    for words in lines:
        quoted = " ".join(f"'{w}'" for w in words)
        code.append(f"COMPREPLY=(); COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; {function} 2>/dev/null; "
                    "echo \"${COMPREPLY[*]}\"")
    return [line.split() for line in output("bash", "-c", "\n".join(code)).splitlines()]


def hanoks_verbs_and_options():
    verbs = output(os.environ["HANOK"], "help", "--words").split()
    need(len(verbs) > 80, f"only {len(verbs)} verbs")
    page = manual("hanok.1").split(".SH VERBS", 1)[1]
    options = {v: output(os.environ["HANOK"], "help", "--words", v).split() for v in verbs}
    offered = completed("hanok", "_hanok", [["hanok", ""], *(["hanok", v, "-"] for v in verbs)])
    need(set(verbs) <= set(offered[0]), f"not completed: {set(verbs) - set(offered[0])}")
    zsh = (TOP / "completions/_hanok").read_text()
    need("help --words 2" in zsh and "help --words $verb" in zsh, "zsh does not ask the program")
    for verb, words in zip(verbs, offered[1:]):
        section = re.search(rf"^\.B {verb}( |$).*\n((?!\.TP|\.SH).*\n)*", page, re.M)
        need(section, f"the manual has no {verb}")
        for option in options[verb]:
            need(option in words, f"{verb} {option} is not completed")
            need(re.search(rf"{option}\b", section.group(0)), f"the manual has no {verb} {option}")


def hanok_vms_options():
    options = re.findall(r"^(-[A-Za-z][\w-]*)", output(os.environ["HANOK_VM"], "-help"), re.M)
    need(len(options) > 60, f"only {len(options)} options")
    page = manual("hanok-vm.1")
    offered = set(completed("hanok-vm", "_hanok_vm", [["hanok-vm", "-"]])[0])
    for option in options:
        need(option in offered, f"{option} is not completed")
        need(re.search(rf"^{option}( |$)", page, re.M), f"the manual has no {option}")


def hanok_imgs_verbs_and_options():
    usage = re.findall(r"^  ([a-z]+) (.*)$", output(str(BUILD / "hanok-img"), "--help"), re.M)
    need(len(usage) > 12, f"only {len(usage)} verbs")
    page = manual("hanok-img.1", TOP / "man")
    offered = completed("hanok-img", "_hanok_img", [["hanok-img", ""], *(["hanok-img", v, "-"] for v, _ in usage)])
    for (verb, text), words in zip(usage, offered[1:]):
        need(verb in offered[0], f"{verb} is not completed")
        section = re.search(rf"^\.B hanok-img {verb}\n((?!\.br|\.SH|\.B ).*\n)*", page, re.M)
        need(section, f"the manual has no {verb}")
        bare = {w.split("=")[0] for w in words}
        for option in TABLE.findall(text):
            need(option in bare, f"{verb} {option} is not completed")
            need(option in section.group(0), f"the manual has no {verb} {option}")


TESTS = [("hanok's verbs and options", hanoks_verbs_and_options), ("hanok-vm's options", hanok_vms_options),
         ("hanok-img's verbs and options", hanok_imgs_verbs_and_options)]
if __name__ == "__main__":
    run_tests([t for t in TESTS if not sys.argv[1:] or any(w in t[0] for w in sys.argv[1:])])
