"""Every module that registers hypercall handlers, so that the tables are whole before they are built."""

import kernel.callback  # noqa: F401
