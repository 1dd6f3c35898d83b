"""The error tree, split by what the caller can do about it.

::

    EdgewiseError
    ├── SettingsError            fix the settings
    ├── MissingExtraError        install an extra
    ├── InputError               give other input
    │   ├── DecodeError            bytes that are no picture, sound or JSON
    │   ├── TooLargeError          past a stated bound
    │   ├── TensorError            wrong name, datatype, shape or value of a tensor
    │   ├── PackageError           a model package that breaks the format
    │   ├── RuleError              a rule expression that does not compile or run
    │   ├── NotFoundError          no such model, person, event, blob, ...
    │   ├── ConflictError          it exists already, or is in use
    │   └── AccessError            not signed in, or not allowed
    │       └── ForbiddenError       signed in, and not allowed
    ├── RetryError               retry later
    │   ├── BusyError              a bounded queue is full
    │   ├── ThrottledError         too many tries to sign in
    │   ├── UnavailableError       a peer, device or origin does not answer
    │   └── StorageFullError       the disk or the stated bound is full
    └── PermanentError           never retry
        ├── CorruptError           stored bytes fail their checksum
        │   └── WrongKeyError        they are sealed with a key that is not given
        ├── ClosedError            used after close
        └── EngineError            a runtime failed on a valid request

Every class has a stable snake_case ``code``, which stands in HTTP bodies, metrics and logs, and takes a ``hint``
that names what to do next. Facts are attributes: ``NotFoundError("no model 'x'", kind="model", name="x").facts``.
Vendor errors are translated to these once, in the adapter that talks to the vendor.
"""

from typing import ClassVar


class EdgewiseError(Exception):
    """Root of all errors that Edgewise raises on purpose.

    Args:
        message: One sentence for a person: what is wrong.
        hint: What to do next, preferably a command. Empty when there is nothing to say.
        facts: Values behind the message (names, sizes, limits), for programs. JSON-serialisable.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts


class SettingsError(EdgewiseError):
    """A settings file, environment variable or flag is wrong."""

    code = "settings_invalid"


class MissingExtraError(EdgewiseError):
    """An optional dependency is not installed; the hint is the ``pip install`` line."""

    code = "extra_missing"


class InputError(EdgewiseError):
    """The input cannot be used; other input can."""

    code = "input_invalid"


class DecodeError(InputError):
    """Bytes that do not decode as what they claim to be."""

    code = "undecodable"


class TooLargeError(InputError):
    """Input past a stated bound. Facts: ``limit`` and, where known, ``actual``."""

    code = "too_large"


class TensorError(InputError):
    """A tensor has a wrong name, datatype, shape or value."""

    code = "tensor_invalid"


class PackageError(InputError):
    """A model package breaks the format. Facts: ``file`` and ``field`` where they apply."""

    code = "package_invalid"


class RuleError(InputError):
    """A rule expression does not compile, or fails on a value."""

    code = "rule_invalid"


class NotFoundError(InputError):
    """Nothing of that kind has that name. Facts: ``kind``, ``name``."""

    code = "not_found"


class ConflictError(InputError):
    """It exists already, or something else is using it."""

    code = "conflict"


class AccessError(InputError):
    """Nobody is signed in, or the name, password or token is wrong."""

    code = "access_denied"


class ForbiddenError(AccessError):
    """Whoever is signed in may not do this. Facts: ``permission``, the one that is missing."""

    code = "forbidden"


class RetryError(EdgewiseError):
    """It failed now and may work later."""

    code = "retry_later"


class BusyError(RetryError):
    """A bounded queue is full."""

    code = "busy"


class ThrottledError(RetryError):
    """Too many tries to sign in. Facts: ``retry_after_s``."""

    code = "too_many_attempts"


class UnavailableError(RetryError):
    """A peer, device or origin does not answer."""

    code = "unavailable"


class StorageFullError(RetryError):
    """The disk, or the bound set for it, is full."""

    code = "storage_full"


class PermanentError(EdgewiseError):
    """It failed and will fail again."""

    code = "permanent"


class CorruptError(PermanentError):
    """Stored bytes fail their checksum."""

    code = "corrupt"


class WrongKeyError(CorruptError):
    """Stored bytes are sealed with another key. Facts: ``sealed_with``, ``keys``."""

    code = "wrong_key"


class ClosedError(PermanentError):
    """The object was used after it was closed."""

    code = "closed"


class EngineError(PermanentError):
    """A runtime failed on a valid request."""

    code = "engine_failed"
