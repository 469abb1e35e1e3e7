"""How a push that fails is told: one line, and nothing secret in it."""


class PushError(ValueError):
    """A push that was refused or broke off; the message is one clear line."""


def quoted(said: object, *secrets: str | None) -> str:
    """What a server said, as one short line in parentheses with a space before it, without the secrets; ""
    where it said nothing.

    >>> quoted("no\\n  write access for hf_abc", "hf_abc"), quoted(None)
    (' (no write access for …)', '')
    """
    if not isinstance(said, str) or not said.strip():
        return ""
    for secret in secrets:
        if secret:
            said = said.replace(secret, "…")
    return f" ({' '.join(said.split())[:200]})"
