"""Texts of strangers, as they may be repeated."""


def printed(text: str) -> str:
    """`text` with `�` for all that does not print: line breaks, what steers a terminal, halves of characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def shortened_text(text: str, length: int) -> str:
    """`text`, printed, in no more than `length` characters."""
    safe = printed(text[: length + 1])
    return safe if len(safe) <= length else safe[: length - 1] + "…"
