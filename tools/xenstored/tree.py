"""The store's nodes: an immutable tree.

A change makes new nodes on the path from the root and shares all the others, so a transaction's
snapshot is one reference and costs nothing. Every change gives the node a new generation number, by
which a transaction sees whether somebody else touched what it has read.
"""

from typing import NamedTuple

READ, WRITE = 1, 2
_LETTERS = {b"n": 0, b"r": READ, b"w": WRITE, b"b": READ | WRITE}
_BY_ACCESS = {access: letter for letter, access in _LETTERS.items()}


class Permission(NamedTuple):
    """What a domain may do; the first of a node names its owner and what all others may do."""

    domid: int
    access: int

    @classmethod
    def parse(cls, text):
        """Read the wire form, such as b"r5". Errors: ValueError."""
        if text[:1] not in _LETTERS or not text[1:].isdigit():
            raise ValueError(f"permission {text!r}")
        return cls(int(text[1:]), _LETTERS[text[:1]])

    def encode(self):
        """Return the wire form."""
        return _BY_ACCESS[self.access] + b"%d" % self.domid


class Node:
    """A value, who may touch it, and its children by name. Never changed in place."""

    __slots__ = ("value", "perms", "generation", "children")

    def __init__(self, value, perms, generation, children):
        self.value, self.perms = value, perms
        self.generation, self.children = generation, children

    @property
    def owner(self):
        """The domain that owns the node and pays for it."""
        return self.perms[0].domid

    def access(self, domid):
        """Return READ|WRITE bits of what a domain may do here."""
        if domid in (0, self.owner):
            return READ | WRITE
        for permission in self.perms[1:]:
            if permission.domid == domid:
                return permission.access
        return self.perms[0].access

    def walk(self):
        """Yield this node and all below it. A path may be deeper than Python's stack."""
        rest = [self]
        while rest:
            node = rest.pop()
            yield node
            rest += node.children.values()


def split(path):
    """Return the names along an absolute path; none for the root."""
    return tuple(path.split("/")[1:]) if path != "/" else ()


def lookup(root, names):
    """Return the node at `names`, or None."""
    for name in names:
        root = root.children.get(name)
        if root is None:
            return None
    return root


def deepest(root, names):
    """Return `(depth, node)` of the last node that exists along `names`."""
    for depth, name in enumerate(names):
        child = root.children.get(name)
        if child is None:
            return depth, root
        root = child
    return len(names), root


def put(root, names, node):
    """Return a tree with `node` at `names`, whose parent must exist; None removes what is there."""
    above = [root]
    for name in names[:-1]:
        above.append(above[-1].children[name])
    for parent, name in zip(reversed(above), reversed(names), strict=False):
        children = dict(parent.children)
        if node is None:
            del children[name]
        else:
            children[name] = node
        node = Node(parent.value, parent.perms, parent.generation, children)
    return node
