"""A small Debian mirror on the loopback: a signed suite of packages, and what may go wrong.

`faults` says how a path answers: a status to fail with, or a function from the right answer's bytes
to the bytes that are sent before the connection closes; each fault happens once unless it `stays`.
"""

import hashlib
import http.server
import io
import lzma
import re
import tarfile
import threading
from pathlib import Path

import pysequoia

from tools.image.debian.lockfile import Package, render

SUITE = "sid"
BY_HASH = "dists/sid/main/binary-amd64/by-hash/SHA256"
SIGNER = pysequoia.Tsk.generate("A test's archive <archive@example.org>")
KEYRING_FILE = "usr/share/keyrings/debian-archive-keyring.gpg"


def tar_of(*entries: tuple[str, object], mode: str = "w:xz") -> bytes:
    """Return a tar archive of (name, contents): bytes for a file, a TarInfo for what is none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, contents in entries:
            entry = contents if isinstance(contents, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(contents, bytes):
                entry.size = len(contents)
            archive.addfile(entry, io.BytesIO(contents) if isinstance(contents, bytes) else None)
    return buffer.getvalue()


def deb_of(*entries: tuple[str, object], data: bytes | None = None, ending: str = ".xz") -> bytes:
    """Return a .deb file with a file tree, or with `data` as the packed tree."""
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tar_of(("./control", b"")),
        f"data.tar{ending}": tar_of(*entries) if data is None else data,
    }
    text = b"!<arch>\n"
    for name, contents in parts.items():
        text += f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(contents):<10}`\n".encode()
        text += contents + b"\n" * (len(contents) % 2)
    return text


class Mirror:
    """The files of a mirror, and a server for them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, object] = {}
        self.stays = False
        self.asked: list[tuple[str, str | None]] = []
        self._stanzas: list[str] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """The address for DEBIAN_MIRROR."""
        return f"http://127.0.0.1:{self._server.server_port}/debian"

    def close(self) -> None:
        """Let the server end: nothing listens at its address any more."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, version: str, deb: bytes, depends: str = "") -> Package:
        """Put a package on the mirror and into its index."""
        path = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
        digest = hashlib.sha256(deb).hexdigest()
        self.files[path] = deb
        fields = {
            "Package": name,
            "Version": version,
            "Priority": "optional",
            "Filename": path,
            "Size": len(deb),
            "SHA256": digest,
        } | ({"Depends": depends} if depends else {})
        self._stanzas.append("".join(f"{key}: {value}\n" for key, value in fields.items()))
        return Package(name, version, len(deb), digest, f"debian/{path}")

    def remove(self, package: Package) -> None:
        """Take a package's file and its stanza away, as a mirror does with an old version."""
        del self.files[package.path.removeprefix("debian/")]
        self._stanzas = [text for text in self._stanzas if package.sha256 not in text]

    def publish(self, signer: pysequoia.Tsk = SIGNER, codename: str = SUITE) -> None:
        """Write the index of what is there, and sign it."""
        index = lzma.compress("\n".join(self._stanzas).encode())
        digest = hashlib.sha256(index).hexdigest()
        self.files[f"{BY_HASH}/{digest}"] = index
        entry = f" {digest} {len(index)} main/binary-amd64/Packages.xz\n"
        text = f"Origin: Debian\nCodename: {codename}\nSHA256:\n{entry}".encode()
        signed = pysequoia.sign(signer.signer(), text, mode=pysequoia.SignatureMode.CLEAR)
        self.files[f"dists/{SUITE}/InRelease"] = signed

    def _handler(mirror) -> type:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror._answer(self, self.path.removeprefix("/debian/"))

            def log_message(self, *_words) -> None:
                pass

        return Handler

    def _answer(self, handler: http.server.BaseHTTPRequestHandler, path: str) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append((path, wanted))
        fault = self.faults.get(path) if self.stays else self.faults.pop(path, None)
        contents = self.files.get(path)
        if contents is None or isinstance(fault, int):
            handler.send_error(fault if isinstance(fault, int) else 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(contents) - start))
        handler.end_headers()
        sent = contents[start:]
        handler.wfile.write(fault(sent) if fault else sent)


def write_lock(folder: Path, **sets: list[Package]) -> None:
    """Write the lock file of the test's suite."""
    folder.mkdir(exist_ok=True)
    (folder / f"{SUITE}.lock").write_text(render(SUITE, dict(sets)))
