"""Names that a page, card or terminal could obey, and what an HTML reader finds alive."""

from html.parser import HTMLParser

NAMES = (
    "<script>alert(1)</script>",
    "<svg onload=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "</text></svg><script>",
    "safe\u202egnp.exe",
    "{{7*7}}",
    "\x1b]0;owned\x07",
    "a[/b]",
    "out[24h]",
    "[link](javascript:alert(1))",
    "![i](https://example.org/pixel.png)",
    "x | y",
    'colon: and "quote" \'s',
    "two\nlines\n# heading",
    "`code` *bold* ~~gone~~",
)


class Alive(HTMLParser):
    """Collects the elements of a page, and what in them could run or fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.links += [
            value
            for name, value in attributes
            if name in ("href", "src") and not value.startswith("#")
        ]

    def handle_data(self, data):
        self.texts.append(data)


def hidden(text: str) -> set[str]:
    """Return the control and direction characters of a text, but for line ends and tabs."""
    return {
        c
        for c in text
        if (ord(c) < 32 and c not in "\n\t")
        or c in "\x7f\u202a\u202b\u202c\u202d\u202e\u2066\u2067"
    }
