"""Text that a tool writes between two marks of a document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sifigan_triton.files import atomic_file


@dataclass(frozen=True)
class Section:
    """What stands between two marks, each of which occurs once."""

    document: Path
    begin: str
    end: str

    def around(self) -> tuple[str, str]:
        """Return what stands before and behind the marks.

        Raises:
            ValueError: if they are not there.

        """
        text = self.document.read_text(encoding="utf-8")
        if text.count(self.begin) != 1 or text.count(self.end) != 1 or text.index(self.begin) > text.index(self.end):
            raise ValueError(
                f"{self.document} lacks the marks {self.begin} and {self.end}: put them where the text is to stand"
            )
        return text.split(self.begin)[0], text.split(self.end)[1]

    def write(self, text: str) -> None:
        """Put a text between the marks."""
        before, after = self.around()
        with atomic_file(self.document) as file:
            file.write(f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}".encode())
