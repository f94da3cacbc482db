"""weft.draw, and the table of a report."""

import io
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import weft
from torch import nn
from weft.drawing.colours import as_hex, colour_of
from weft.drawing.held import ranks_text, shown


def mesh_of(**axes):
    return weft.DeviceMesh(tuple(axes.values()), tuple(axes), device_type="cpu")


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.up, self.down, self.norm = (
            nn.Linear(8, width, bias=False),
            nn.Linear(width, 8, bias=False),
            nn.LayerNorm(8),
        )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.layers = nn.ModuleList([Block(), Block(), Block(width=6), Block()])
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight


def layouts_of(mesh):
    return weft.LayoutMap(
        mesh,
        {
            r"layers/\d/up/weight": ("model", None),
            r"layers/\d/down/weight": (None, "model"),
            r"layers/\d/norm/.*": (None,),
            "embed/weight": (("model", "data"), None),
        },
    )


NET = """\
who holds which part of what on mesh (data=2, model=2), by ranks

embed  Embedding
  ┌───┐
  │ 0 │
  ├───┤
  │ 2 │
  ├───┤
  │ 1 │
  ├───┤
  │ 3 │
  └───┘
  weight
  12×8
  ((model, data), None)

layers/[0,1,3]  Block ×3
  ┌──────┐      ┌──────┬──────┐ ┌─────┐     ┌─────┐
  │ 0, 2 │      │ 0, 2 │ 1, 3 │ │ all │     │ all │
  ├──────┤      └──────┴──────┘ └─────┘     └─────┘
  │ 1, 3 │      down/weight     norm/weight norm/bias
  └──────┘      8×8             8           8
  up/weight     (None, model)   (None,)     (None,)
  8×8
  (model, None)
"""


def test_a_module_before_it_is_distributed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    mesh = mesh_of(data=2, model=2)
    text = str(weft.draw(Net(), layout_map=layouts_of(mesh)))
    assert text.startswith(NET), text
    assert text.count("×3") == 1 and "layers/2  Block\n" in text and "6×8" in text, text
    assert "head" not in text, "a tied variable is drawn once"
    with weft.register_layouts(layouts_of(mesh)):
        assert str(weft.draw(Net())) == text
    with pytest.raises(ValueError, match="embed.weight is a plain tensor"):
        weft.draw(Net())
    with pytest.raises(ValueError, match="a plain tensor, which every rank holds whole"):
        weft.draw(torch.ones(2))
    with pytest.raises(ValueError, match="got int"):
        weft.draw(3)


def test_colours_with_rich():
    rich_console = pytest.importorskip("rich.console")
    mesh = mesh_of(data=2, model=2)
    console = rich_console.Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=120)
    console.print(weft.draw(Net(), layout_map=layouts_of(mesh)))
    text = console.file.getvalue()
    for ranks in ((0,), (0, 2), (0, 1, 2, 3)):
        red, green, blue = colour_of(ranks, mesh)
        assert f"48;2;{red};{green};{blue}m" in text, ranks


def test_many_parts_are_shortened():
    mesh = mesh_of(a=5, b=20)
    text = str(weft.draw(nn.Linear(200, 100), layout_map=weft.LayoutMap(mesh, {"weight": ("a", "b"), "bias": ("b",)})))
    assert "│…│" in text and len(text.splitlines()) < 30 and "80, 81" not in text
    long = shown("w", (400,), weft.TensorLayout((("a", "b"),), mesh))
    assert 1 < len(long.parts) <= 32, "no finer than can be told apart"


@pytest.mark.parametrize(
    ("ranks", "text"),
    [((0, 2), "0, 2"), ((0, 1, 2), "0-2"), ((0, 1), "0, 1"), ((0, 4, 5, 6, 9), "0, 4-6, 9"), (tuple(range(10)), "all")],
)
def test_ranks_are_written_short(ranks, text):
    assert ranks_text(ranks, 10) == text


@pytest.mark.parametrize("axes", [("z",), ("y",), ("x",), ("x", "y"), ("y", "z"), ("x", "z"), ("x", "y", "z")])
def test_colours_differ(axes):
    mesh = mesh_of(x=2, y=3, z=5)
    parts = shown("w", (30,), weft.TensorLayout((axes,), mesh)).parts
    colours = [colour_of(part.ranks, mesh) for part in parts]
    apart = [math.dist(a, b) for a, b in itertools.combinations(colours, 2)]
    assert len(parts) == math.prod(mesh.axis_size(name) for name in axes) and min(apart) > 15


@pytest.mark.parametrize("width", [300.0, 700.0])
@pytest.mark.parametrize("axes", [{"m": 2}, {"data": 2, "model": 2}, {"a": 4, "b": 4, "c": 4}, {"replica": 64, "m": 8}])
def test_nothing_lies_outside_of_a_picture(axes, width):
    figures = pytest.importorskip("matplotlib.figure")
    mesh = mesh_of(**axes)
    layouts = weft.LayoutMap(mesh, {"weight": (tuple(axes), None)})
    picture = weft.draw(nn.Linear(64, 64), layout_map=layouts).picture(width=width)
    figure = figures.Figure(figsize=(picture.width / 72, picture.height / 72))
    picture.paint(figure)
    (heading, *texts), tiles = figure.axes[0].texts, figure.axes[0].patches
    for piece in (heading, *texts, *tiles):
        box = piece.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, piece
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, piece
        assert piece is heading or not heading.get_window_extent().overlaps(box), piece


CASES = [
    ((7, 5), ("m", None)),
    ((7, 5), (None, "m")),
    ((5,), ("m",)),
    ((1, 4), ("m", None)),
    ((2, 3, 7), (None, None, "m")),
    ((3, 2, 4), ("m", None, None)),
    ((), ()),
    ((0, 4), ("m", None)),
]


def parts_of_this_rank():
    """For each case, what the rectangle says that this rank holds, and what it holds."""
    ranks = torch.distributed.get_world_size()
    mesh, out = mesh_of(m=ranks), []
    for shape, axes in CASES:
        whole = torch.arange(int(torch.tensor(shape).prod())).view(shape)
        x = weft.distribute_tensor(whole, axes, mesh)
        drawn = shown("x", shape, weft.layout_of(x))
        flat, said = whole.reshape(drawn.rows, drawn.columns), []
        for part in drawn.parts:
            if weft.rank() in part.ranks:
                rows = slice(round(part.top * drawn.rows), round(part.bottom * drawn.rows))
                columns = slice(round(part.left * drawn.columns), round(part.right * drawn.columns))
                said += flat[rows, columns].flatten().tolist()
        out.append((sorted(said), sorted(weft.local_tensor(x).flatten().tolist())))
    return out


def test_drawn_is_what_ranks_hold(ranks2, ranks3):
    for ranks in (ranks2, ranks3):
        for found in ranks(parts_of_this_rank):
            for (said, held), case in zip(found, CASES, strict=True):
                assert said == held, case


def drawn_on_ranks(folder):
    from torch.distributed.tensor.debug import visualize_sharding

    mesh = mesh_of(m=2)
    net = nn.Linear(4, 6)
    weft.distribute_module(net, {"weight": ("m", None)}, mesh=mesh)
    file = f"{folder}/{weft.rank()}.png"
    text = str(weft.draw(net, file))
    alone = str(weft.draw(net.weight)) if weft.rank() == 1 else ""
    pending = str(weft.draw((net.weight * 2).sum(0)))
    printed = io.StringIO()
    before, sys.stdout = sys.stdout, printed
    try:
        visualize_sharding(net.weight, header="a weight")
    finally:
        sys.stdout = before
    return text, alone, pending, printed.getvalue()


def test_files_are_written_by_one_rank(ranks2, tmp_path):
    pytest.importorskip("matplotlib")
    (text, _, pending, printed), (again, alone, _, silent) = ranks2(drawn_on_ranks, str(tmp_path))
    assert text == again and "(m, None)" in text
    assert alone.splitlines()[2:5] == ["a tensor", "  ┌───┐", "  │ 0 │"], "one rank alone may draw"
    assert "partial{m: sum}" in pending
    assert printed.startswith("a weight\nwho holds which part of what") and silent == ""
    assert (tmp_path / "0.png").read_bytes().startswith(b"\x89PNG") and not (tmp_path / "1.png").exists()


def test_pictures_of_all_kinds(tmp_path):
    pytest.importorskip("matplotlib")
    drawing = weft.draw(Net(), tmp_path / "net.svg", layout_map=layouts_of(mesh_of(data=2, model=2)))
    svg = (tmp_path / "net.svg").read_text()
    assert "<svg" in svg and as_hex(colour_of((0, 2), mesh_of(data=2, model=2))) in svg
    assert drawing._repr_svg_().count("<path") == svg.count("<path")
    three = weft.LayoutMap(mesh_of(a=2, b=2, c=2), {"weight": (("a", "b"), "c")})
    weft.draw(nn.Linear(4, 8), tmp_path / "net.pdf", layout_map=three)
    assert (tmp_path / "net.pdf").read_bytes().startswith(b"%PDF")


def test_names_of_any_characters(tmp_path):
    names = ("$x^{$", "²", "³", "7", "a\nb", "<&>", "[bold]", "ключ")
    net = nn.ModuleDict({name: nn.Linear(4, 4) for name in names})
    layouts = weft.LayoutMap(mesh_of(m=2))
    text = str(weft.draw(net, layout_map=layouts)), str(weft.report(net, layouts))
    assert all("²" in t and "$x^{$" in t for t in text)
    pytest.importorskip("matplotlib")
    weft.draw(net, tmp_path / "net.svg", layout_map=layouts)


def test_without_matplotlib():
    program = """
import sys
sys.modules["matplotlib"] = None
import torch, weft
mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
drawing = weft.draw(torch.nn.Linear(2, 2), layout_map=weft.LayoutMap(mesh))
print(drawing)
try:
    drawing.save("net.png")
except ImportError as error:
    print(error)
"""
    env = {**os.environ, "PYTHONPATH": str(Path(weft.__file__).parents[1]), "WEFT_LIBRARY": str(weft.library_path())}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert "│ all │" in done.stdout and "pip install matplotlib" in done.stdout


def test_a_report_is_a_short_table():
    report = weft.report(Net(), layouts_of(mesh_of(data=2, model=2)))
    lines = str(report).splitlines()
    assert lines[0] == "who gets what on mesh (data=2, model=2)" and lines[2].split()[:2] == ["variables", "layout"]
    rows = [line.split("  ")[0] for line in lines[3:] if not line.startswith(" ")]
    assert rows == [
        "embed/weight",
        "layers/[0-3]/up/weight",
        "layers/[0-3]/down/weight",
        "layers/[0-3]/norm/{weight,bias}",
        "all",
    ], str(report)
    assert r"  layers/\d/up/weight" in lines and "layers.3.up.weight" in report.details
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(file=io.StringIO(), width=120)
    console.print(report)
    assert "layers/[0-3]/norm/{weight,bias}" in console.file.getvalue()
