"""What is wrong with an assembly file, and where."""


class AsmError(Exception):
    """Carries file and line once they are known."""

    def __init__(self, text: str, file: str | None = None, line: int | None = None):
        super().__init__(text)
        self.text, self.file, self.line = text, file, line

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else ""
        return f"{where}error: {self.text}"
