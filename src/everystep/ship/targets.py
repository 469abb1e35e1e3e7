"""The places that a parcel can go to, by name, each as the same four functions."""

from collections.abc import Callable
from dataclasses import dataclass

from everystep.ship.bundle import Parcel
from everystep.ship.words import PushError


@dataclass(frozen=True, slots=True)
class Place:
    """`check`: raises ValueError for a name, a parcel or a licence that cannot go there. `address`: the page
    of a name. `account`: what of an account is found here, None for nothing; it asks nobody. `push`: uploads
    (parcel, name, public, licence, quiet) and gives the address, or raises ValueError."""

    check: Callable[[Parcel, str, str | None], None]
    address: Callable[[str], str]
    account: Callable[[], str | None]
    push: Callable[[Parcel, str, bool, str | None, bool], str]


def place_of(name: str) -> Place:
    """The place called "hf" or "kaggle"; only its own client is imported. Raises ValueError for another."""
    if name == "hf":
        from everystep.ship import hub

        return Place(hub.check, hub.address, hub.account, hub.push)
    if name == "kaggle":
        from everystep.ship import kaggle

        return Place(kaggle.check, kaggle.address, kaggle.account, kaggle.push)
    raise PushError(f"{name!r}: is no place to push to; there are hf and kaggle")
