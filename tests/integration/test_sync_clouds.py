"""Azure's store as a source."""

from __future__ import annotations

import base64

import obstore
import pytest
from tests import azurite

from tidemill.catalogue.listing import LeftOut, listing
from tidemill.errors import StorageError
from tidemill.storage.stores import open_store


@pytest.mark.skipif(azurite.program() is None, reason="no Azurite here: npm install --prefix .cache/azurite azurite")
def test_a_container_of_azures_is_listed_and_its_refusals_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", azurite.ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", azurite.KEY)
    with azurite.azurite("originals") as endpoint:
        options = {"endpoint": endpoint}
        store = open_store("az://originals/in", options)
        keys = ["P1/a b.dat", "P1/ü.dat", "P2/c.dat"]
        for key in keys:
            obstore.put(store, key, b"xy")
        found = list(listing("az://originals/in", options, LeftOut()))
        assert sorted((seen.key, seen.size) for seen in found) == sorted((key, 2) for key in keys)
        assert all(seen.etag for seen in found)
        with pytest.raises(StorageError, match="az://nowhere cannot be listed: there is no such bucket"):
            list(listing("az://nowhere", options, LeftOut()))
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another").decode())
        with pytest.raises(StorageError, match="refuses us") as refused:
            list(listing("az://originals", options, LeftOut()))
        assert "AZURE_STORAGE_ACCOUNT_KEY" in str(refused.value.hint)
