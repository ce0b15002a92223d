"""What object stores say when something is wrong, in words that a person can act on."""

from __future__ import annotations

import re

from tidemill.errors import StorageError, StorageRefused

_CODE = re.compile(r"<Code>(\w+)</Code>|error(?: occurred)? \((\w+)\)")
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
_REFUSALS = ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")


_COUNTED = re.compile(r" in \d[\d.]*[nµm]?s\b(, after \d+ retries, max_retries: \d+, retry_timeout: \S+)?")
"""What a library says of how long it tried, which is another each time."""


def trouble(url: str, verb: str, error: Exception) -> StorageError:
    """`verb` is what could not be done (`listed`, `read`): one sentence and, where it helps, a hint.

    The same trouble has the same words. A StorageRefused where trying again cannot help.
    """
    return known_trouble(url, verb, error) or StorageError(f"{url} cannot be {verb}: {in_short(error)}")


def known_trouble(url: str, verb: str, error: Exception) -> StorageError | None:
    """The same, where it is with the store as a whole; None where nobody can say that."""
    said = _said(error)
    code, status = _code(said), _STATUS.search(said)
    hint = CREDENTIALS.get(url.partition("://")[0])
    no_credentials = f"{url} cannot be {verb}: there are no credentials for it."
    if "Unable to locate credentials" in said:
        return StorageRefused(no_credentials, hint=hint)
    if any(address in said for address in _METADATA):  # which may be away for some seconds, and have them then
        return StorageError(no_credentials, hint=hint)
    if code in _NO_BUCKET or (status and status[1].startswith("404") and not code):
        return StorageRefused(f"{url} cannot be {verb}: there is no such bucket.")
    if code in _REFUSALS or (status and status[1].startswith(_REFUSED)):
        word = code or (status[1] if status else "")
        return StorageRefused(f"{url} cannot be {verb}: the service refuses us ({word}).", hint=hint)
    if "error sending request" in said or "Could not connect to the endpoint" in said:
        return StorageError(f"{url} cannot be {verb}: the service does not answer.")
    return None


def in_short(error: Exception) -> str:
    """What went wrong in a few words, without the answers, times and innards that a library adds to it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}."
    said = _said(error)
    status = _STATUS.search(said)
    if word := _code(said) or (status[1] if status else ""):
        return f"the service answers {word}."
    first = said.splitlines()[0] if said else type(error).__name__
    return _COUNTED.sub("", first).strip(" :-")[:300]


def _said(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]


def _code(said: str) -> str:
    found = _CODE.search(said)
    return (found[1] or found[2]) if found else ""
