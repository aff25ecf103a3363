"""How a check says that it does not hold, or that it cannot be made here."""


class Failed(Exception):
    """What was checked does not hold; the text says what was found."""


class Impossible(Exception):
    """The check needs what this machine lacks; the text says what."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise Failed with this text unless it holds."""
    if not holds:
        raise Failed(otherwise)
