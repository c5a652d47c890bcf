"""What a server takes its models from when that is no folder: a release of an object store."""

from __future__ import annotations

from pathlib import Path

from sifigan_triton.store.address import Address
from sifigan_triton.store.bucket import Bucket
from sifigan_triton.store.fetch import cache_folder, current_release, fetch


class Source:
    """An address, and the release that was fetched from there last."""

    def __init__(self, address: Address) -> None:
        """Describe it; nothing is fetched yet."""
        self.address = address
        self._fetched = address.release

    def fetch(self) -> Path:
        """Return the folder with the release that is meant now, fetched and verified.

        Raises:
            StoreError: if the store fails, or the release is not whole.
            OSError: if there is no room for it.

        """
        folder = fetch(self.address, cache_folder())
        self._fetched = folder.name
        return folder

    def moved(self) -> bool:
        """Tell whether another release is meant than was fetched last; asks for one small object.

        Raises:
            StoreError: if the store fails.

        """
        return self.address.release is None and current_release(Bucket(self.address)) != self._fetched
