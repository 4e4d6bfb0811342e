"""One client of the store: its requests, transactions and watches.

A session does not know how packets travel: it is given requests and calls `send` with replies and
events. The client is a domain (`domid`), whose relative paths start at its home; a process of dom0
acts as domain 0.
"""

import errno
import itertools
import re

import xen_codecs as abi
from xen.xs_wire import Packet, error_payload, join_strings

from xenstored.store import refuse
from xenstored.tree import Permission
from xenstored.watches import SPECIAL

VALID_PATH = re.compile(r"/|(/?[-\w@]+(/[-\w@]+)*)", re.ASCII)
WATCHES_MAX = 128
TRANSACTIONS_MAX = 10
TRANSACTION_SIZE_MAX = 4096

_REQUESTS = {}


def request(kind, privileged=False):
    """Register the method that answers a request type; a privileged one is for dom0 only."""

    def register(method):
        _REQUESTS[kind] = (method, privileged)
        return method

    return register


class Session:
    """A connection's state. `domains` answers the requests that concern domains."""

    def __init__(self, domid, store, watches, domains, send):
        self.domid = domid
        self.home = f"/local/domain/{domid}"
        self.store, self.watches, self.domains, self.send = store, watches, domains, send
        self.transactions = {}
        self.tx_ids = itertools.count(1)
        self.watched = {}

    def handle(self, packet):
        """Answer one request. Nothing that a client sends raises."""
        self.follow_up = []
        try:
            method, privileged = _REQUESTS.get(packet.type, (None, False))
            if method is None:
                raise refuse(errno.ENOSYS)
            if privileged and self.domid:
                raise refuse(errno.EACCES)
            view = self.view(packet.tx_id)
            payload = method(self, view, packet)
            kind = packet.type
        except OSError as error:
            kind, payload = abi.XS_ERROR, error_payload(error.errno)
        except (ValueError, IndexError, OverflowError):
            kind, payload = abi.XS_ERROR, error_payload(errno.EINVAL)
        self.send(Packet(kind, packet.req_id, packet.tx_id, payload))
        for action in self.follow_up:
            action()
        self.publish()

    def close(self):
        """Forget the session's watches and transactions."""
        for path, token in list(self.watched):
            self.watches.remove(self, path, token)
        self.watched.clear()
        self.transactions.clear()

    def event(self, path, token):
        """Queue a watch event for the client."""
        payload = join_strings(path.encode(), token)
        if len(payload) <= abi.XENSTORE_PAYLOAD_MAX:
            self.send(Packet(abi.XS_WATCH_EVENT, 0, 0, payload))

    def publish(self):
        """Fire the watches for what has changed in the live tree."""
        live = self.store.live
        changes, live.changes = live.changes, []
        for path, removed in changes:
            self.watches.fire(path, removed)

    def view(self, tx_id):
        """Return the transaction with this id, or the live store for 0."""
        if tx_id == 0:
            return self.store.live
        if tx_id not in self.transactions:
            raise refuse(errno.ENOENT)
        transaction = self.transactions[tx_id]
        if self.domid and transaction.size() > TRANSACTION_SIZE_MAX:
            del self.transactions[tx_id]
            raise refuse(errno.ENOSPC)
        return transaction

    def path(self, raw):
        """Return the absolute path that a client's bytes mean. Errors: ValueError."""
        text = raw.decode("ascii")
        if not VALID_PATH.fullmatch(text) or text[:1] == "@":
            raise ValueError("path")
        if text[0] == "/":
            absolute, longest = text, abi.XENSTORE_ABS_PATH_MAX
        else:
            absolute, longest = f"{self.home}/{text}", abi.XENSTORE_REL_PATH_MAX
        if len(text) > longest:
            raise ValueError("path")
        return absolute

    def only_path(self, packet):
        """Return the path of a request that has one argument."""
        (raw,) = packet.strings()
        return self.path(raw)

    @request(abi.XS_READ)
    def read(self, view, packet):
        return view.read(self.domid, self.only_path(packet))

    @request(abi.XS_WRITE)
    def write(self, view, packet):
        raw, value = packet.payload.split(b"\0", 1)
        view.write(self.domid, self.path(raw), value)
        return b"OK\0"

    @request(abi.XS_MKDIR)
    def mkdir(self, view, packet):
        view.mkdir(self.domid, self.only_path(packet))
        return b"OK\0"

    @request(abi.XS_RM)
    def rm(self, view, packet):
        view.rm(self.domid, self.only_path(packet))
        return b"OK\0"

    @request(abi.XS_DIRECTORY)
    def directory(self, view, packet):
        names, _ = view.directory(self.domid, self.only_path(packet))
        payload = join_strings(*(name.encode() for name in names))
        if len(payload) > abi.XENSTORE_PAYLOAD_MAX:
            raise refuse(errno.E2BIG)
        return payload

    @request(abi.XS_DIRECTORY_PART)
    def directory_part(self, view, packet):
        """Answer with the generation, and the children's names from an offset; a last empty name
        ends the list.
        """
        raw, offset = packet.strings()
        names, generation = view.directory(self.domid, self.path(raw))
        head = b"%d\0" % generation
        rest = join_strings(*(name.encode() for name in names))[int(offset) :] + b"\0"
        room = abi.XENSTORE_PAYLOAD_MAX - len(head)
        if len(rest) > room:
            rest = rest[: rest.rindex(b"\0", 0, room) + 1]
        return head + rest

    @request(abi.XS_GET_PERMS)
    def get_perms(self, view, packet):
        perms = view.get_perms(self.domid, self.only_path(packet))
        return join_strings(*(perm.encode() for perm in perms))

    @request(abi.XS_SET_PERMS)
    def set_perms(self, view, packet):
        raw, first, *others = packet.strings()
        perms = [Permission.parse(text) for text in (first, *others)]
        view.set_perms(self.domid, self.path(raw), perms)
        return b"OK\0"

    @request(abi.XS_WATCH)
    def watch(self, view, packet):
        """Add a watch; its first event follows the reply at once."""
        raw, token = packet.strings()[:2]
        shown = raw.decode("ascii")
        path = shown if shown in SPECIAL else self.path(raw)
        if self.domid and len(self.watched) >= WATCHES_MAX:
            raise refuse(errno.ENOSPC)
        if not self.watches.add(self, path, token, len(path) - len(shown)):
            raise refuse(errno.EEXIST)
        self.watched[path, token] = True
        self.follow_up.append(lambda: self.event(shown, token))
        return b"OK\0"

    @request(abi.XS_UNWATCH)
    def unwatch(self, view, packet):
        raw, token = packet.strings()[:2]
        shown = raw.decode("ascii")
        path = shown if shown in SPECIAL else self.path(raw)
        if not self.watches.remove(self, path, token):
            raise refuse(errno.ENOENT)
        del self.watched[path, token]
        return b"OK\0"

    @request(abi.XS_RESET_WATCHES)
    def reset_watches(self, view, packet):
        self.close()
        return b"OK\0"

    @request(abi.XS_TRANSACTION_START)
    def transaction_start(self, view, packet):
        if packet.tx_id:
            raise refuse(errno.EBUSY)
        if self.domid and len(self.transactions) >= TRANSACTIONS_MAX:
            raise refuse(errno.ENOSPC)
        tx_id = next(self.tx_ids) & 0xFFFFFFFF
        self.transactions[tx_id] = self.store.start_transaction()
        return b"%d\0" % tx_id

    @request(abi.XS_TRANSACTION_END)
    def transaction_end(self, view, packet):
        verdict = packet.payload.rstrip(b"\0")
        if verdict not in (b"T", b"F"):
            raise ValueError("neither T nor F")
        if packet.tx_id == 0:
            raise refuse(errno.ENOENT)
        transaction = self.transactions.pop(packet.tx_id)
        if verdict == b"T":
            transaction.end(self.domid)
        return b"OK\0"

    @request(abi.XS_INTRODUCE, privileged=True)
    def introduce(self, view, packet):
        domid, mfn, port = (int(text) for text in packet.strings()[:3])
        self.domains.introduce(domid, mfn, port)
        self.follow_up.append(lambda: self.watches.fire_special("@introduceDomain"))
        return b"OK\0"

    @request(abi.XS_RELEASE, privileged=True)
    def release(self, view, packet):
        (domid,) = packet.strings()
        self.domains.release(int(domid))
        self.follow_up.append(lambda: self.watches.fire_special("@releaseDomain"))
        return b"OK\0"

    @request(abi.XS_GET_DOMAIN_PATH)
    def get_domain_path(self, view, packet):
        (domid,) = packet.strings()
        return b"/local/domain/%d\0" % int(domid)

    @request(abi.XS_IS_DOMAIN_INTRODUCED)
    def is_domain_introduced(self, view, packet):
        (domid,) = packet.strings()
        return b"T\0" if self.domains.is_introduced(int(domid)) else b"F\0"

    @request(abi.XS_RESUME, privileged=True)
    def resume(self, view, packet):
        (domid,) = packet.strings()
        self.domains.resume(int(domid))
        return b"OK\0"
