"""A local copy of a file that lies in a place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.errors import InvalidInput, StorageError
from tidemill.executors.places.contract import Trouble, Unusable
from tidemill.executors.places.opening import Places


async def fetched(url: str, folder: Path, reach: Mapping[str, Any]) -> Path:
    """Copy the file at `url` into `folder`, logged in as `reach` or the machine's settings say. Raises StorageError."""
    places = Places()
    try:
        place, key = places.holding(url, reach)
        seen = await place.look(key)
        if seen is None:
            raise StorageError(f"{url} is not there.")
        target = folder / Path(key).name
        part = target.with_name(target.name + ".part")
        with part.open("wb") as file:
            async for chunk in place.read(key, 0, seen.size):
                await asyncio.to_thread(file.write, chunk)
            if file.tell() != seen.size:
                raise StorageError(f"{url} was cut off while it was read.")
        return part.replace(target)
    except (Unusable, Trouble, OSError) as error:
        raise StorageError(f"{url} could not be read: {error}") from error
    except InvalidInput as error:
        raise StorageError(error.message) from error
    finally:
        await places.close()
