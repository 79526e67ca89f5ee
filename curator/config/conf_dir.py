"""Where the shipped options are: the folder ``conf``."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """Find the folder of shipped options.

    A wheel carries a copy inside the package; a checkout and an editable install have it beside the package. The copy
    is looked for first, because what lies beside an installed package belongs to others.

    Returns:
        An absolute path.

    Raises:
        FileNotFoundError: neither place has a ``config.yaml``: the installation is broken.

    Example:
        >>> (conf_dir() / "stages" / "read.yaml").exists()
        True
    """
    package = Path(__file__).resolve().parents[1]
    places = (package / "conf", package.parent / "conf")
    for place in places:
        if (place / "config.yaml").is_file():
            return place
    raise FileNotFoundError(
        f"curator's options are missing: no config.yaml in {' or '.join(map(str, places))}. Install curator again."
    )
