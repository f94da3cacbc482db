"""mkdocs' hooks: the reference pages, which are made and not kept."""

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import errors  # noqa: E402
import headers  # noqa: E402
import names  # noqa: E402
import registered  # noqa: E402

REFERENCE = "reference"


def pages() -> dict[str, str]:
    """File and text of each."""
    made = {f"{REFERENCE}/cpp/{f.stem}.md": headers.page(f) for f in headers.headers(ROOT)}
    made[f"{REFERENCE}/torchscript.md"] = registered.page(ROOT, names.exported(ROOT, "weft"))
    made[f"{REFERENCE}/errors.md"] = errors.page(ROOT)
    for module in names.MODULES:
        shown = [n for n in names.exported(ROOT, module) if f"{module}.{n}" not in names.MODULES]
        about = f"::: {module}\n    options:\n      members: false\n      heading_level: 2"
        text = "\n\n".join([about, *(f"::: {module}.{name}" for name in shown)]) + "\n"
        file = f"{REFERENCE}/{'keras' if module == 'weft.keras' else 'python'}.md"
        made[file] = made.get(file, f"# {'Keras' if module == 'weft.keras' else 'Python'}\n") + "\n" + text
    return made


def results() -> list[str]:
    """The pages with the results of the long runs, by their paths."""
    folder = ROOT / "docs"
    found = sorted(str(f.relative_to(folder)) for f in (folder / "results").rglob("*.md"))
    return sorted(found, key=lambda path: not path.endswith("README.md"))


def filled(nav: list, parts: dict[str, list[str]]) -> list:
    """The navigation with the pages of each folder that it names."""
    out = []
    for entry in nav:
        title, value = next(iter(entry.items()))
        out.append({title: filled(value, parts) if isinstance(value, list) else parts.get(value, value)})
    return out


def on_config(config: Any) -> Any:
    cpp = [path for path in pages() if path.startswith(f"{REFERENCE}/cpp/")]
    config.nav = filled(config.nav, {f"{REFERENCE}/cpp": cpp, "results": results()})
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """GitHub wants a | in a table's code escaped; Python's Markdown shows the escape."""
    return re.sub(r"<td.*?</td>", lambda cell: cell[0].replace(r"\|", "|"), html, flags=re.DOTALL)
