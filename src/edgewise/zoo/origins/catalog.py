"""Which kinds of origin there are: name -> where its class lives. Plain data, loaded on demand."""

import importlib

from edgewise.zoo.origins.base import Fetcher, Kind

CATALOG: dict[Kind, str] = {
    "url": "edgewise.zoo.origins.url:UrlFetcher",
    "pypi": "edgewise.zoo.origins.pypi:PypiFetcher",
    "sdist": "edgewise.zoo.origins.sdist:SdistFetcher",
    "npm": "edgewise.zoo.origins.npm:NpmFetcher",
    "debian": "edgewise.zoo.origins.debian:DebianFetcher",
}


def fetcher(kind: Kind) -> Fetcher:
    """The fetcher of a kind, with its default settings."""
    module, _, name = CATALOG[kind].partition(":")
    made: Fetcher = getattr(importlib.import_module(module), name)()
    return made
