"""Finds libweft.so, checks that it fits the torch in use, and loads it."""

import os
from pathlib import Path

import torch


def library_path() -> Path:
    """The library: $WEFT_LIBRARY, else the one inside the package, of those that tools/setup --torch built the one for
    the torch in use.

    Raises:
        ImportError: there is none; says how to build it.
    """
    inside = Path(__file__).parent / "lib"
    own = inside / f"torch-{torch.__version__.split('+')[0]}"
    path = Path(os.environ.get("WEFT_LIBRARY") or (own if own.is_dir() else inside) / "libweft.so")
    if not path.exists():
        raise ImportError(f"[W002] weft: {path} does not exist; build it with tools/setup, or name one in WEFT_LIBRARY")
    return path


def torch_version_built_for(path: Path) -> str | None:
    """The torch version the library was built for, from the file that the build leaves beside it; None: unknown."""
    note = path.with_name("torch_version.txt")
    return note.read_text().strip() if note.exists() else None


def cmake_prefix_path() -> Path:
    """A folder for CMAKE_PREFIX_PATH, where find_package(weft) finds the C++ library: that of the installation, else
    the build folder of the source tree.

    Raises:
        FileNotFoundError: there is none.
    """
    library = library_path()
    tree = Path(__file__).parents[2]
    builds = [tree / f"build-{torch.__version__.split('+')[0]}", tree / "build"]
    for prefix, config in [
        (library.parent.parent, library.parent / "cmake" / "weft" / "weftConfig.cmake"),
        *((build, build / "weftConfig.cmake") for build in builds),
    ]:
        if config.exists():
            return prefix
    raise FileNotFoundError(
        f"[W002] there is no CMake package beside {library}: install weft, or build it with tools/setup"
    )


def _load() -> None:
    path = library_path()
    built_for = torch_version_built_for(path)
    if built_for is not None and built_for.split("+")[0] != torch.__version__.split("+")[0]:
        raise ImportError(
            f"[W002] weft: {path} was built for torch {built_for}, but torch {torch.__version__} is loaded; "
            "rebuild it for this torch (tools/setup --torch VERSION) or install the torch it was built for"
        )
    torch.ops.load_library(str(path))


_load()
