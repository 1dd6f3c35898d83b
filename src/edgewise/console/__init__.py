"""The web console: static files that use only the public API.

They are plain ES modules: no build step makes them, and what is not ours lies in ``static/vendor`` with its licences
and an index. ``scripts/vendor_console.py`` re-makes that folder.
"""

from pathlib import Path


def static_folder() -> Path:
    """The folder to serve at ``/``; ``index.html`` is its entry, and the pages are told apart by the address's hash."""
    return Path(__file__).parent / "static"
