"""HTML as a browser takes it."""

from html.parser import HTMLParser

import httpx

VOID = {"img", "link", "meta", "br", "input"}


class Page(HTMLParser):
    """Of an answer, the elements with their attributes, and all that can be read. Fails if one is not closed."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self._open, self._words = list[str](), list[str]()
        self.feed(answer.text)
        self.close()
        assert self._open == [], "every element is closed"
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self._words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> set[str]:
        return {str(attributes["href"]) for attributes in self.all("a")}

    @property
    def refresh(self) -> str | None:
        return next((tag["content"] for tag in self.all("meta") if tag.get("http-equiv") == "refresh"), None)
