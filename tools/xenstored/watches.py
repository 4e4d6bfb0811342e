"""Watches: who wants to hear of which path.

A watch fires for its own path and everything below. When a subtree is removed, watches inside it
fire too, with their own path. A guest hears only of nodes that it may read. `@introduceDomain` and
`@releaseDomain` are paths of no node, and only dom0 hears of them.
"""

from xenstored.tree import READ, deepest, lookup, split

SPECIAL = ("@introduceDomain", "@releaseDomain")


class Watches:
    """All watches of all sessions, by path: {path: {(session, token): shown prefix length}}."""

    def __init__(self, store):
        self.store = store
        self.by_path = {}

    def add(self, session, path, token, hidden):
        """Add a watch; `hidden` is how many leading characters of the path its owner does not use.

        Returns: False if the session has this watch already.
        """
        watchers = self.by_path.setdefault(path, {})
        if (session, token) in watchers:
            return False
        watchers[session, token] = hidden
        return True

    def remove(self, session, path, token):
        """Remove a watch; returns False if there is none."""
        watchers = self.by_path.get(path, {})
        if watchers.pop((session, token), None) is None:
            return False
        if not watchers:
            del self.by_path[path]
        return True

    def fire(self, path, removed=None):
        """Tell of a change at `path`; `removed` is the subtree that was there, if it is gone."""
        names = split(path)
        self._notify("/", path, removed)
        for end in range(1, len(names) + 1):
            self._notify("/" + "/".join(names[:end]), path, removed)
        if removed is not None:
            inside = [watched for watched in self.by_path if watched.startswith(path + "/")]
            for watched in inside:
                below = lookup(removed, split(watched)[len(names) :])
                if below is not None:
                    self._notify(watched, watched, below)

    def fire_special(self, name):
        """Tell dom0's watchers of a domain that came or went."""
        for (session, token), _ in list(self.by_path.get(name, {}).items()):
            if session.domid == 0:
                session.event(name, token)

    def _notify(self, watched, path, removed):
        watchers = self.by_path.get(watched)
        if not watchers:
            return
        node = removed or deepest(self.store.root, split(path))[1]
        for (session, token), hidden in list(watchers.items()):
            if node.access(session.domid) & READ:
                session.event(path[hidden:], token)
