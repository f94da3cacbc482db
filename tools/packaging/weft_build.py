"""The wheel's build backend: scikit-build-core's, with the torch that is there.

A wheel works with the very torch it was built against. The torch of the environment that the wheel is installed into is
used where it fits, unseen by an isolated build otherwise; where there is none, the newest that fits is fetched. Either
way the wheel requires that release, to the last number.

PEP 517 and https://scikit-build-core.readthedocs.io tell what the functions are for.
"""

import importlib.metadata
import re
import sysconfig
from pathlib import Path
from typing import Any

from scikit_build_core import build as _core
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist  # noqa: F401

_VERSIONS = (Path(__file__).parents[1] / "torch_versions.txt").read_text()
_RELEASES = [(int(major), int(minor)) for major, minor in re.findall(r"^(\d+)\.(\d+)", _VERSIONS, re.MULTILINE)]
_REQUIREMENT = "torch>={}.{},<{}.{}".format(*_RELEASES[0], _RELEASES[-1][0], _RELEASES[-1][1] + 1)

Settings = dict[str, Any] | None


def torch_folder() -> Path | None:
    """The environment's own torch, where its release fits."""
    for key in ("platlib", "purelib"):
        folder = Path(sysconfig.get_path(key)) / "torch"
        if (folder / "version.py").is_file() and _fits(_version_in(folder)):
            return folder
    return None


def torch_release() -> str:
    """The release the wheel is built against, such as 2.15.0.

    Raises:
        RuntimeError: there is none that fits.
    """
    folder = torch_folder()
    try:
        version = _version_in(folder) if folder else importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if not _fits(version):
        raise RuntimeError(f"weft: needs {_REQUIREMENT} to be built against, found {version}")
    return version.split("+")[0]


def dynamic_metadata(field: str, settings: dict[str, object] | None = None) -> list[str]:
    """scikit-build-core asks for `dependencies`."""
    return [f"torch=={torch_release()}"]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    required = _core.get_requires_for_build_wheel(config_settings)
    return required if torch_folder() else [*required, _REQUIREMENT]


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    return _core.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    settings = dict(config_settings or {})
    if folder := torch_folder():
        settings.setdefault("cmake.define.TORCH_DIR", str(folder))
    return _core.build_wheel(wheel_directory, settings, metadata_directory)


def _version_in(folder: Path) -> str:
    found = re.search(r"^__version__ = '([^']+)'", (folder / "version.py").read_text(), re.MULTILINE)
    return found.group(1) if found else ""


def _fits(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)\.\d+(?!\w)", version)
    return bool(found) and _RELEASES[0] <= (int(found.group(1)), int(found.group(2))) <= _RELEASES[-1]
