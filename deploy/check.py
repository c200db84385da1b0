#!/usr/bin/env python3
"""Holds rules and dashboard against the metrics that tidegate exports (TABLE in src/metrics.rs).

Fails, with one line for each problem, when an expression names a metric, or a label of one, that
does not exist; when a legend or an annotation shows a label that its expression does not give;
when an alert lacks an annotation, a case where it fires or one where it does not; and when a panel
has no description or no unit. `check.py [ROOT]`; promtool knows whether an expression is PromQL.
"""
import json
import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
FREE = {"instance", "job", "le"}  # what Prometheus itself adds
ALWAYS = {"TidegateWatchdog"}  # fires always, so no case shows it silent
RULES, TESTS = Path("deploy/prometheus/rules.yml"), Path("deploy/prometheus/rules_test.yml")
BOARD = Path("deploy/grafana/overview.json")
problems, recorded = [], {}


def exported():
    """Every name that can be asked for, with its labels."""
    text = (ROOT / "src/metrics.rs").read_text().partition("pub const TABLE")[2].partition("\n];")[0]
    names = {}
    for kind, name, labels in re.findall(r'Kind::(\w+),\s*"(\w+)",\s*&\[(.*?)\]', text, re.S):
        ends = ["_bucket", "_sum", "_count"] if kind in ("Seconds", "Counts") else [""]
        names |= {name + end: set(re.findall(r'"(\w+)"', labels)) for end in ends}
    return names


def scope(expr, start, end):
    """What a grouping speaks of: the parentheses behind it, else those before it."""
    step, at = (1, end) if expr[end:].lstrip().startswith("(") else (-1, start - 1)
    depth, begun = 0, at
    while 0 <= at < len(expr):
        depth += {"(": step, ")": -step}.get(expr[at], 0)
        at += step
        if depth == 0 and expr[at - step] in "()":
            break
    return expr[min(begun, at + 1):max(begun + 1, at)]


def look(where, expr, shown=()):
    """Checks an expression, and the labels that are shown of its result."""
    expr = re.sub(r'"(?:\\.|[^"\\])*"', '""', expr)
    named = re.findall(r"(?<![\w:$])([a-z_:]*tidegate_[\w:]+)\s*(?:\{([^}]*)\})?", expr)
    known = {}
    for name, matchers in named:
        known[name] = recorded.get(name, TABLE.get(name))
        if known[name] is None:
            problems.append(f"{where}: there is no metric {name}")
            known[name] = {*re.findall(r"\w+", expr), *shown}  # said once
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in known[name] | FREE:
                problems.append(f"{where}: {name} has no label {label}")
    given, word = set(), r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    for group in re.finditer(word, expr):
        labels = set(re.findall(r"\w+", group[2]))
        given |= labels if group[1] == "by" else set()
        part = scope(expr, *group.span()) if group[1] in ("by", "without") else expr
        for name in known:
            for label in labels - known[name] - FREE if name in part else ():
                problems.append(f"{where}: {name} has no label {label} to group by")
    for label in set(shown) - (given or set().union(*known.values())) - FREE if named else ():
        problems.append(f"{where}: shows {label}, which its expression does not give")
    return given


def rules():
    """The rules as (line, record or alert, name, text); a rule ends where the next begins."""
    text = (ROOT / RULES).read_text()
    heads = list(re.finditer(r"^( +)- (record|alert): (\S+)\n", text, re.M))
    for head, end in zip(heads, [head.start() for head in heads[1:]] + [len(text)]):
        yield text.count("\n", 0, head.start()) + 1, head[2], head[3], text[head.end():end]


def check_rules():
    tests = re.split(r"\n +alertname: ", (ROOT / TESTS).read_text())[1:]
    cases = [(test.split()[0], "exp_labels:" in test) for test in tests]
    alerts = set()
    for line, kind, name, text in rules():
        where = f"{RULES}:{line}: {name}"
        expr = re.search(r"^( +)expr: *(?:\|-?)?(.*\n(?:\1 +.*\n)*)", text, re.M)
        if not expr:
            problems.append(f"{where}: expr was not found; it is one line, or | and lines behind it")
            continue
        given = look(where, expr[2], re.findall(r"\$labels\.(\w+)", text))
        if kind == "record":
            recorded[name] = given
            continue
        alerts.add(name)
        runbook = rf"docs/operating\.md#{name.lower()}"
        for key, value in {"severity": ".", "summary": ".", "description": ".", "runbook_url": runbook}.items():
            if not re.search(rf"^ +{key}: {value}", text, re.M):
                problems.append(f"{where}: {key} is missing or wrong")
        for fires, what in (True, "where it fires"), (False, "where it does not fire"):
            if (name, fires) not in cases and (fires or name not in ALWAYS):
                problems.append(f"{where}: {TESTS.name} has no case {what}")
    for name in sorted({name for name, _ in cases} - alerts):
        problems.append(f"{TESTS}: there is no alert {name}")


def check_board():
    board = json.loads((ROOT / BOARD).read_text())
    panels = [inner for panel in board["panels"] for inner in [panel, *panel.get("panels", [])]]
    for panel in (panel for panel in panels if panel["type"] != "row"):
        where = f"{BOARD}: {panel.get('title', panel.get('id'))}"
        if not panel.get("description", "").strip():
            problems.append(f"{where}: no description")
        if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
            problems.append(f"{where}: no unit")
        for target in panel.get("targets", []):
            look(where, target["expr"], re.findall(r"{{ *(\w+) *}}", target.get("legendFormat", "")))
    for note in board["annotations"]["list"]:
        look(f"{BOARD}: annotation {note['name']}", note.get("expr", ""))
    for variable in board["templating"]["list"]:
        asked = re.match(r"label_values\((.*), *(\w+)\)$", variable.get("definition", ""))
        if asked:
            look(f"{BOARD}: variable {variable['name']}", asked[1], [asked[2]])


TABLE = exported()
if not TABLE:
    problems.append("src/metrics.rs: TABLE was not found")
check_rules()
check_board()
print("\n".join(problems) if problems else f"{len(TABLE)} names, every one in use exists")
sys.exit(1 if problems else 0)
