"""What hashes of fuzzy deduplication depend on; plans and headers of artefacts read it without loading a compiler."""

from __future__ import annotations

SHINGLE_VERSION = 3
"""Changes whenever a text gets other hashes; artefacts carry it together with ``UNICODE_VERSION``."""

SCHEME_VERSION = 1
"""Changes whenever a set of shingles gets another signature, or a signature other band keys."""

UNICODE_VERSION = "14.0.0"
"""Of the tables for lower case, white space and scripts: that of the oldest supported Python."""
