"""What `tools/bench/all` has measured, as a document, a chart and the README's table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- figures: made by tools/bench/all -->", "<!-- end of figures -->"


def ratio(figure: dict[str, Any], digits: int = 2) -> str:
    text = f"{figure['ratio']:.{digits}f}" if figure["ratio"] >= 0.1 else f"{figure['ratio']:.2g}"
    if figure["low"] is not None:
        text += f" ({figure['low']:.{digits}f} - {figure['high']:.{digits}f})"
    return text


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def readme_table(kept: dict[str, Any]) -> str:
    """A row for each benchmark and peer."""
    lines = ["| what | Weft, in parts of the peer | peer | script |", "| --- | --- | --- | --- |"]
    for name, run in kept.items():
        peers: dict[str, list[str]] = {}
        for figure in run["figures"]:
            if figure["headline"]:
                peers.setdefault(figure["peer"], []).append(f"{figure['name']}: {ratio(figure)}")
        for peer, texts in peers.items():
            lines.append(f"| {run['title']} | {'<br>'.join(texts)} | {peer} | `{name}.py` |")
    return "\n".join(lines)


def document(kept: dict[str, Any]) -> str:
    parts = [
        "# Figures",
        "What `tools/bench/all` measured. Candidates of a benchmark take turns in the same processes; a ratio is the "
        "median of\nthe rounds' ratios, in brackets where it lies at 95 % confidence, and below 1 Weft needs less. "
        "Absolute times move with\nthe machine and with what else runs there, of which the load at the start is said.",
        "![Weft's ratios to its peers](figures.svg)",
    ]
    for run in kept.values():
        table = ["| what | Weft | peer | | unit | ratio | goal |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for f in run["figures"]:
            goal = "" if f["goal"] is None else f"{f['goal']:g}"
            cells = (f["name"], number(f["ours"]), number(f["theirs"]), f["peer"], f["unit"], ratio(f), goal)
            table.append("| " + " | ".join(cells) + " |")
        where = f"{run['machine']}; {run['date']}, load {run['load']}, {run['seconds']} s"
        parts += [f"## {run['title']}", f"`{run['command']}`; {where}.", "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def chart(kept: dict[str, Any], path: Path) -> None:
    """A bar for each headline, on a logarithmic axis, with its interval and its goal."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "weft"  # the same figures, the same file
    from matplotlib import pyplot

    rows = [(name, f) for name, run in kept.items() for f in run["figures"] if f["headline"] and f["ratio"] > 0]
    figure, axes = pyplot.subplots(figsize=(11, 0.27 * len(rows) + 1.2))
    benchmarks = list(kept)
    for y, (name, f) in enumerate(rows):
        axes.barh(y, f["ratio"], color=f"C{benchmarks.index(name) % 10}", height=0.7)
        if f["low"] is not None:
            axes.plot([f["low"], f["high"]], [y, y], color="black", linewidth=1)
        if f["goal"] is not None:
            axes.plot(f["goal"], y, marker="|", color="black", markersize=9)
        axes.annotate(
            f"{f['ratio']:.2g}", (max(f["ratio"], f["high"] or 0), y), xytext=(4, -3), textcoords="offset points"
        )
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [f"{f['name']}  /  {f['peer']}" for _, f in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("Weft / peer: left of the line Weft needs less; thin line: interval of the median; |: goal")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def with_table(text: str, kept: dict[str, Any]) -> str:
    """The README with the table between its two marks made anew."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{readme_table(kept)}\n\n{END}", text, flags=re.DOTALL)


def write(kept: dict[str, Any], path: Path, picture: Path, readme: Path) -> None:
    path.write_text(document(kept))
    chart(kept, picture)
    readme.write_text(with_table(readme.read_text(), kept))
