"""Domain files, in xl's syntax: `KEY = VALUE`, one a line or separated by semicolons.

A value is a string in either quote, a number (decimal, 0x hexadecimal or 0 octal) or a list of
values over as many lines as it likes; `#` starts a comment, `+=` appends to a list or string. It
looks like Python but is only read, never run.
"""

import re

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\r]+ | \#[^\n]* )
    | (?P<end> [\n;] )
    | (?P<string> "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    | (?P<number> -?(?:0[xX][0-9a-fA-F]+|[0-9]+)(?![\w.]) )
    | (?P<name> [A-Za-z_]\w* )
    | (?P<mark> \+= | [=\[\],] )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_WORDS = {"True": 1, "False": 0}


class ConfigError(ValueError):
    """The file cannot be understood; the message says where and why."""


class _Parser:
    """A recursive-descent parser over the tokens of one file."""

    def __init__(self, text, where):
        self.where = where
        self.tokens = list(self._tokens(text))
        self.position = 0

    def _tokens(self, text):
        line, offset = 1, 0
        while offset < len(text):
            match = _TOKEN.match(text, offset)
            if not match:
                excerpt = text[offset:].split("\n", 1)[0][:20]
                raise self.error(line, f"cannot read `{excerpt}`; is a quote or bracket missing?")
            if match.lastgroup != "space":
                yield match.lastgroup, match[0], line
            line += match[0].count("\n")
            offset = match.end()
        yield "end", "", line

    def error(self, line, message):
        return ConfigError(f"{self.where}:{line}: {message}")

    def peek(self):
        return self.tokens[min(self.position, len(self.tokens) - 1)]

    def take(self):
        token = self.peek()
        self.position += 1
        return token

    def statements(self):
        """Yield (name, mark, value, line)."""
        while self.position < len(self.tokens):
            kind, text, line = self.take()
            if kind == "end":
                continue
            if kind != "name":
                raise self.error(line, f"expected a key, such as memory, but found `{text}`")
            mark = self.take()[1]
            if mark not in ("=", "+="):
                raise self.error(line, f"expected `=` after `{text}`")
            value = self.value()
            kind, extra, line = self.take()
            if kind != "end":
                raise self.error(line, f"expected the end of the line, but found `{extra}`")
            yield text, mark, value, line

    def value(self):
        kind, text, line = self.take()
        if kind == "string":
            return _ESCAPE.sub(r"\1", text[1:-1])
        if kind == "number":
            return _number(text)
        if text == "[":
            return self.list()
        if text in _WORDS:
            return _WORDS[text]
        raise self.error(line, f"expected a value, but found `{text or 'the end'}`; quote strings")

    def list(self):
        values = []
        while True:
            self._skip_newlines()
            if self.peek()[1] == "]":
                break
            values.append(self.value())
            self._skip_newlines()
            if self.peek()[1] != ",":
                break
            self.take()
        _, text, line = self.take()
        if text != "]":
            raise self.error(line, f"expected `]` or `,`, but found `{text or 'the end'}`")
        return values

    def _skip_newlines(self):
        while self.peek()[1] == "\n":
            self.take()


def _number(text):
    digits = text.lstrip("-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    return int(text, 8) if octal else int(text, 0)


def parse(text, where):
    """Return {key: value} of a domain file. Errors: ConfigError."""
    parser, values = _Parser(text, where), {}
    for name, mark, value, line in parser.statements():
        if mark == "+=" and name in values:
            if type(value) is not type(values[name]) or isinstance(value, int):
                raise parser.error(line, f"{value!r} cannot be appended to {values[name]!r}")
            value = values[name] + value
        values[name] = value
    return values


def parse_override(text):
    """Return (key, value) of a command-line `key=value`; a value that is no literal is a string.

    Errors: ConfigError, there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ConfigError(f"`{text}` is neither a file nor key=value")
    try:
        parser = _Parser(value, "command line")
        parsed = parser.value()
        if parser.peek()[1] == "":
            return key, parsed
    except ConfigError:
        if value[:1] in "[\"'":
            raise
    return key, value
