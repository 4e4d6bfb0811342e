"""`make test-hosts`: other releases of Debian, as chroots, each with a clone of this tree in it."""
