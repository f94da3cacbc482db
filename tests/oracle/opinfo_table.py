"""Results of tools/opinfo in words: verdicts, a summary, the table in Markdown, the gathered ops."""

import re
from collections import Counter, defaultdict
from pathlib import Path

GRAVITY = ("hang", "died", "value", "shape", "dtype", "structure", "layout", "stride", "flags", "raised")
MODELS = Path(__file__).parents[2] / "docs" / "results" / "models.md"  # what tools/models found
FINE = ("pass", "exception", "no tensors", "nothing ran")


def verdict(result: dict) -> str:
    kinds = {f["kind"] for f in result["failures"] if not f["reason"]}
    for kind in GRAVITY:
        if kind in kinds:
            return kind
    if result["failures"]:
        return "exception"
    return "pass" if result["passed"] else "no tensors" if result["without_tensors"] else "nothing ran"


def how(result: dict) -> str:
    kinds = {kind for kind, _ in result["ops"].values()}
    return next((kind for kind in ("gathered", "composite", "ruled") if kind in kinds), "-")


def summary(table: list[dict]) -> str:
    def counts(of: Counter) -> str:
        return ", ".join(f"{n} {what}" for what, n in of.most_common())

    ran, passed = sum(r["ran"] for r in table), sum(r["passed"] for r in table)
    ways: dict[str, str] = {}
    for kind in ("-", "ruled", "composite", "gathered"):  # an op is as its worst dtype
        ways.update({r["op"]: kind for r in table if how(r) == kind})
    return (
        f"{len(ways)} ops: {counts(Counter(ways.values()))}; in their dtypes {len(table)}: "
        f"{counts(Counter(r['verdict'] for r in table))}; {passed} of {ran} checks pass"
    )


def in_models() -> Counter:
    """In how many of the runs of tools/models an aten op was gathered."""
    line = re.search(r"^gathered: (.*)$", MODELS.read_text(), re.MULTILINE)
    return Counter({op: int(n) for op, n in re.findall(r"(\S+) \((\d+)\)", line[1] if line else "")})


def gathered(table: list[dict]) -> str:
    """The aten ops that were gathered, by how often they were in models, then here: reason, and OpInfo ops that call
    them."""
    models = in_models()
    callers, reasons = defaultdict(dict), {}
    for r in table:
        for op, (kind, text) in r["ops"].items():
            if kind == "gathered":
                callers[op][r["op"]] = None
                reasons.setdefault(op, text)
    lines = [f"{len(callers)} aten ops were gathered (runs of models in which they were, of docs/results/models.md):"]
    for op, names in sorted(callers.items(), key=lambda item: (-models[item[0]], -len(item[1]), item[0])):
        lines.append(f"{op:50s} {models[op]:3d} {reasons[op]}; called by {len(names)}: {', '.join(list(names)[:6])}")
    return "\n".join(lines)


def cell(result: dict) -> str:
    if result["verdict"] == "pass":
        return str(result["passed"])
    if result["verdict"] == "exception":
        return f"{result['passed']} of {result['ran']} [*]"
    return result["verdict"] if result["verdict"] in FINE else f"{result['verdict']} {result['passed']}/{result['ran']}"


def markdown(table: list[dict], title: str) -> str:
    dtypes = list(dict.fromkeys(r["dtype"] for r in table))
    rows: dict[str, dict[str, dict]] = defaultdict(dict)
    for r in table:
        rows[r["op"]][r["dtype"]] = r
    lines = [
        f"# tools/opinfo: {title}",
        "",
        summary(table) + ".",
        "",
        "By dtype: the number of checks, all of which pass; or the verdict. Bytes: what rank 0 sent.",
        "",
        f"| op | how | bytes | {' | '.join(dtypes)} |",
        "| --- | --- | --- |" + " --- |" * len(dtypes),
    ]
    for op, by_dtype in rows.items():
        ways = {how(r) for r in by_dtype.values()}
        way = next(kind for kind in ("gathered", "composite", "ruled", "-") if kind in ways)
        cells = [cell(by_dtype[d]) if d in by_dtype else "" for d in dtypes]
        lines.append(f"| {op} | {way} | {sum(r['bytes'] for r in by_dtype.values())} | {' | '.join(cells)} |")
    exceptions = {f"{r['op']} {r['dtype']}": f["reason"] for r in table for f in r["failures"] if f["reason"]}
    if exceptions:
        lines += ["", "Exceptions [*]:", ""] + [f"- {where}: {why}" for where, why in exceptions.items()]
    return "\n".join(lines) + "\n"
