"""What object stores say when something is wrong, in words that a person can act on."""

from __future__ import annotations

import re

from tidemill.errors import StorageError

_CODE = re.compile(r"<Code>(\w+)</Code>|error \((\w+)\)")
_STATUS = re.compile(r"non-2xx status code: (\d+ [\w ]+)")
_METADATA = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
"""Where a machine of a cloud finds credentials when none are set."""
CREDENTIALS = {
    "s3": "Credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
    "a public bucket needs anonymous = true.",
    "gs": "Credentials come from the environment: GOOGLE_SERVICE_ACCOUNT names a file with a key.",
    "az": "Credentials come from the environment: AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
}
_REFUSED = ("403", "401")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


def trouble(url: str, verb: str, error: Exception) -> StorageError:
    """`verb` is what could not be done (`listed`, `read`): one sentence and, where it helps, a hint."""
    said = str(error).partition("\n\nDebug source")[0]
    found = _CODE.search(said)
    code, status = (found[1] or found[2] if found else ""), _STATUS.search(said)
    hint = CREDENTIALS.get(url.partition("://")[0])
    if any(address in said for address in _METADATA) or "Unable to locate credentials" in said:
        return StorageError(f"{url} cannot be {verb}: there are no credentials for it.", hint=hint)
    if code in _NO_BUCKET or (status and status[1].startswith("404") and not code):
        return StorageError(f"{url} cannot be {verb}: there is no such bucket.")
    if code in ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed") or (
        status and status[1].startswith(_REFUSED)
    ):
        return StorageError(f"{url} cannot be {verb}: the service refuses us ({code or status[1]}).", hint=hint)  # type: ignore[index]
    if "error sending request" in said or "Could not connect to the endpoint" in said:
        return StorageError(f"{url} cannot be {verb}: the service does not answer.")
    first = said.splitlines()[0] if said else type(error).__name__
    return StorageError(f"{url} cannot be {verb}: {code or first[:300]}")
