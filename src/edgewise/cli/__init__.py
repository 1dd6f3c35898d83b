"""The command line. One file per command, loaded only when it is called.

Exit codes are a public promise, listed in ``EXIT_CODES`` and in docs/reference/cli.md:

====  =====================================================================
0     it worked
1     it ran, and the answer is no (a check failed, an audit does not balance)
2     the command line is wrong
3     settings are wrong
4     an extra has to be installed
5     the input cannot be used
6     nothing has that name
7     it may work later (busy, unreachable, disk full)
8     it will not work (corrupt, engine failure)
70    a defect in Edgewise
130   interrupted
====  =====================================================================
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cyclopts

from edgewise import __version__, errors
from edgewise._lib.files import TEMPORARY_PREFIX

EXIT_CODES: tuple[tuple[type[errors.EdgewiseError], int], ...] = (
    (errors.SettingsError, 3),
    (errors.MissingExtraError, 4),
    (errors.NotFoundError, 6),
    (errors.InputError, 5),
    (errors.RetryError, 7),
    (errors.PermanentError, 8),
    (errors.EdgewiseError, 70),
)

app = cyclopts.App(
    name="edgewise",
    help="Deep-learning models that run next to the sensor: see, decide, act.",
    version=__version__,
    help_epilogue="Start here: **edgewise demo door** · documentation: docs/ · exit codes: docs/reference/cli.md",
    help_format="markdown",
    print_error=True,
    exit_on_error=False,
    result_action="return_value",
)
app.register_install_completion_command()

_COMMANDS = (
    ("up", "up:up", "Start a node: pipelines, API and console."),
    ("demo", "demo:app", "See the main job run on real photographs."),
    ("predict", "predict:predict", "Run a model on files, without a node."),
    ("pull", "pull:pull", "Fetch models from the zoo for use without a network."),
    ("model", "model:app", "Make, look at, check and carry model packages."),
    ("user", "user:app", "Who may use the node."),
    ("api-token", "api_token:app", "Tokens by which programs use the node."),
    ("people", "people:app", "The people the node knows by face."),
    ("series", "series:app", "Pack recorded series into little space."),
    ("query", "query:query", "Ask the lake in SQL, or write what it answers into a file."),
    ("why", "why:why", "Why something was decided, done again."),
    ("audit", "audit:app", "Prove that nobody touched the decisions; who changed what."),
    ("journal", "journal:app", "Prove that nothing was lost, and make the key it is sealed with."),
    ("rules", "rules:app", "Try rules on what was recorded."),
    ("token", "token:app", "Let other nodes join this one."),
    ("join", "join:join", "Make this node a child of another."),
    ("leave", "join:leave", "End being a child; what was recorded stays."),
    ("key", "key:app", "The key with which this node proves itself to its parent."),
    ("nodes", "nodes:app", "The nodes below this one."),
    ("authority", "authority:app", "The certificate authority by which the nodes below know this one."),
    ("simulate", "simulate:simulate", "Many small nodes that join a parent, to see how it bears them."),
    ("config", "config:app", "Check and show settings."),
    ("doctor", "doctor:doctor", "What this machine can do, and what mends the rest."),
    ("capacity", "capacity:capacity", "How many more cameras fit on this machine."),
    ("bench", "bench:bench", "Measure a model's variants on this machine."),
)
for _name, _location, _help in _COMMANDS:
    app.command(f"edgewise.cli.{_location}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and exits with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit code.

    A command returns None or 0 when it worked, 1 when the answer is no, and raises ``EdgewiseError`` otherwise.
    """
    try:
        code = int(app(arguments) or 0)
        sys.stdout.flush()
        return code
    except cyclopts.CycloptsError:
        return 2
    except errors.EdgewiseError as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        _drop_output()
        return 0
    except OSError as error:
        _drop_output()
        return _fail(_in_our_words(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody may take it for an answer
        return _fail(_defect(error))


def _fail(error: errors.EdgewiseError) -> int:
    from edgewise.cli.output import show_error

    show_error(error)
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def _in_our_words(error: OSError) -> errors.EdgewiseError:
    """What the system refused: a path that cannot be read or made, or a full disk."""
    where = Path(str(error.filename or ""))
    if where.name.startswith(TEMPORARY_PREFIX):  # the place is what matters, not how files get there
        where = where.parent
    said = f"{where}: {error.strerror}" if error.filename else f"{error.strerror or error}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return errors.StorageFullError(said, hint="Free disk space, then retry.")
    return errors.InputError(said, hint="Check the path and its permissions.")


def _defect(error: Exception) -> errors.EdgewiseError:
    """What nobody foresaw, with its traceback for whoever mends it."""
    import traceback

    traceback.print_exception(error)
    hint = "Please report it, with these lines and the command."
    return errors.EdgewiseError(f"This is a defect in Edgewise: {error!r}", hint=hint)


def _drop_output() -> None:
    """Lets what is still buffered go nowhere, so that the interpreter does not fail on it when it ends."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
