"""Which packages a set consists of: what its roots depend on, and so on; no recommendations.

Of alternatives it takes the first that exists, as apt does on an empty system; of several packages
that provide a name, the most important.
"""

from debian.deb822 import Packages

from tools.image.debian.index import Index
from tools.image.debian.lockfile import Package
from tools.image.debian.suites import Set
from tools.setup.progress import fail


def resolve(index: Index, wanted: Set) -> list[Package]:
    """Return the newest packages of a set.

    Errors: SystemExit, the suite lacks one.
    """
    found: dict[str, Package] = {}
    queue = [[root] for root in wanted.roots]
    while queue:
        package, stanza = _first(index, queue.pop(), found)
        if package.name not in found:
            found[package.name] = package
            queue += _needs(stanza)
    return [package for name, package in found.items() if wanted.belongs(name)]


def _first(index: Index, alternatives: list[str], found: dict) -> tuple[Package, Packages]:
    """Return the package that stands for a dependency, one that is already chosen before all."""
    names = [n for a in alternatives for n in ([a] if index.newest(a) else index.providers(a))]
    for name in [*(n for n in names if n in found), *names]:
        if (newest := index.newest(name)) is not None:
            return newest
    raise fail(f"the suite has no package {' or '.join(alternatives)}")


def _needs(stanza: Packages) -> list[list[str]]:
    """Return what a package depends on: lists of alternatives."""
    relations = stanza.relations
    both = [*relations["pre-depends"], *relations["depends"]]
    return [[relation["name"] for relation in alternatives] for alternatives in both]
