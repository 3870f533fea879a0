#!/usr/bin/env python3
"""List the test questions that occur in the training data: those of questions.mjs, or of a text file.

    python3 check_questions.py --work DIR [--questions questions-blind.txt]
"""
import argparse
import os
import re
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bpe  # noqa: E402


def norm(s):
    return re.sub(r"[\s?？。.!！,，:：]+", " ", s.lower()).strip()


ap = argparse.ArgumentParser()
ap.add_argument("--work", required=True)
ap.add_argument("--questions", default=None)
a = ap.parse_args()
src = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "questions.mjs"), encoding="utf-8").read()
block = src.split("export const QUESTIONS = [")[1].split("\n];")[0]
qs = {norm(m) for m in re.findall(r'^\s+\["(.*?)", \[', block, re.M)}
if a.questions:
    qs = {norm(q) for q in open(a.questions, encoding="utf-8").read().splitlines() if q.strip()}
tk = bpe.Tokenizer.load(os.path.join(a.work, "tokenizer.json"))
user = tk.encode("user\n")
seen, n = set(), 0
for name in ("short", "long"):
    for row in np.load(os.path.join(a.work, name + ".npz"))["ids"]:
        row = row.tolist()
        cut = [i for i, t in enumerate(row) if t == tk.im_start] + [len(row)]
        for s, e in zip(cut, cut[1:]):
            if row[s + 1:s + 1 + len(user)] == user:
                n += 1
                seen.add(norm(tk.decode([t for t in row[s + 1 + len(user):e] if t < tk.eot])))
print(f"{n} user messages in the training data, {len(seen)} distinct")
hit = [q for q in qs if q in seen]
print(f"{len(qs)} test questions, {len(hit)} found in the training data", hit or "")
