"""Clients of Amazon's library are kept while what they are made of is the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.s3_server import CREDENTIALS

from tidemill.storage.s3 import client


def test_one_client_for_the_same_service_and_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    here = {"endpoint": "http://127.0.0.1:1", "region": "us-east-1"}
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(client, [here] * 8))
    assert len({id(one) for one in made}) <= 2  # two where the time to keep one ended just now
    assert client(here | {"endpoint": "http://127.0.0.1:2"}) is not made[-1]
    assert client(here | {"anonymous": True}) is not made[-1]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    renewed = client(here)
    assert renewed is not made[-1]
    assert renewed._request_signer._credentials.secret_key == "another"
