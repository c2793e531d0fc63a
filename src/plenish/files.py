"""Writing files and folders completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from plenish import invocation
from plenish.errors import AlreadyMade, InputError, first_line
from plenish.wording import agree

RESUME_HINT = "the same command resumes it"
CHECKSUM = "checksum"
"""Key of a record's own SHA-256."""
_MARKER = "partial.json"
_MADE = ".plenish.json"
"""In a folder that `atomic_dir` made: the marker that its partial had."""
MARKERS = (_MARKER, _MADE)
"""Files that `atomic_dir` writes for itself."""
_UNBORN = ".new"
_NAMED = 100
"""Names of files that the marker of a folder keeps."""


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-able mapping, independent of key order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(ref: str) -> str:
    """A file name as text that can be stored anywhere: bytes that are no UTF-8 become escapes."""
    return ref.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def flush_folder(path: Path) -> None:
    """Force a folder's entries to disk, so that a rename inside it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def flushed(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file, such as one of an unfinished folder, to write into; on disk when the block ends well."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write into; it is flushed and becomes `path` when the block ends well."""
    partial = _partial(path)
    with reporting_disk(path):
        try:
            with flushed(partial) as file:
                yield file
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically; bytes of a file name that are no UTF-8 become escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinities become null."""
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False, default=_as_json)
    write_text(path, text + "\n")  # Its escapes are JSON's own.


def read_json(path: Path) -> Any:
    """Read a JSON file; InputError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; give the folder that a Plenish command wrote.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder where a file is needed; make it again.") from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{path} is not valid JSON; restore it from a copy or make the folder again."
        ) from None


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write facts as JSON with their checksum, atomically; only `read_record` should interpret them."""
    plain = json.loads(json.dumps(finite(content), allow_nan=False, default=_as_json))
    plain.pop(CHECKSUM, None)
    write_json(path, {**plain, CHECKSUM: _checksum(plain)})


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote.

    Raises:
        InputError: it is missing, broken, or was altered.
    """
    return verified(read_json(path), path)


def verified(content: Any, path: Path) -> dict[str, Any]:
    """The facts of a record read from `path`, without their checksum; InputError as `read_record`."""
    if isinstance(content, dict):
        facts = {key: value for key, value in content.items() if key != CHECKSUM}
        with contextlib.suppress(RecursionError, ValueError):
            if content.get(CHECKSUM) == _checksum(facts):
                return facts
    raise InputError(
        f"{path} was altered after it was written, or is damaged; restore it from a copy or make the folder "
        "again."
    )


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let a library that cannot read a file say so in a sentence: InputError."""
    try:
        yield
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}); restore it or make it again.") from None


def finite(value: Any) -> Any:
    """A JSON-able value with NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _as_json(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return str(value)


@contextlib.contextmanager
def reporting_disk(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into an InputError."""
    try:
        yield
    except OSError as error:
        sentence = disk_sentence(error, path)
        if sentence is None:
            raise
        raise InputError(sentence) from error


def disk_sentence(error: OSError, path: Path) -> str | None:
    """What a full, read-only or forbidden location means for the user, or None for another error.

    Args:
        error: the system's refusal.
        path: what was to be written, by the name the user gave.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space left while writing {path}; free some space or choose another place, then start again."
        )
    named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
    is_output = bool({path, _partial(path), _unborn(path)} & {named, *named.parents})
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path if is_output else named} may not be written; choose a place you can write to."
    if error.errno == errno.ENAMETOOLONG:
        return f"{path if is_output else named} has too long a name; choose a shorter one."
    taken = None if error.filename2 is None else Path(os.fsdecode(error.filename2))  # Of a renaming.
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY) or (taken and error.errno == errno.ENOTDIR):
        return f"{taken or named} already exists; choose another name or remove it."
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.ELOOP):
        if is_output:
            return f"{path} cannot be written: {_obstacle(path)}; choose a place you can write to."
        return f"{named} is not the kind of file expected there; choose another path."
    return None


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial") if out.name else out


def _unborn(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{os.getpid()}{_UNBORN}") if folder.name else folder


def _obstacle(path: Path) -> str:
    """Why nothing can be made under that name."""
    existing = next(place for place in (*path.parents, Path()) if os.path.lexists(place))
    if existing.is_dir():
        return f"{existing} takes no new files"
    return f"{existing} is {'not a folder' if existing.exists() else 'a broken symbolic link'}"


def require_space(path: Path, n_bytes: int) -> None:
    """Raise InputError unless `n_bytes` and a small reserve are free where `path` will lie."""
    place = path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    n_bytes += 16 * 2**20
    if free < n_bytes:
        raise InputError(
            f"{path} needs {n_bytes / 2**20:,.0f} MiB and only {free / 2**20:,.0f} MiB are free; "
            "free some space or choose another place."
        )


def check_name(name: str, what: str) -> None:
    """Raise InputError if `what`, such as "a split", cannot be a file or folder of that name."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
        raise InputError(f"'{name}' cannot name {what}; use letters, digits, '-' and '_'.")


def refuse_unwritable(out: Path) -> None:
    """Raise InputError if nothing has that name and nothing can be made under it; nothing is tried.

    For the beginning of a command, before work is done in vain.
    """
    with reporting_disk(out):
        if out.exists():
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            _partial(out).lstat()  # Refuses a name that is too long.
        place = next(path for path in out.absolute().parents if os.path.lexists(path))
    if not _takes_files(place):
        raise InputError(f"{out} cannot be written: {_obstacle(out)}; choose a place you can write to.")


def _takes_files(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def refuse_existing(out: Path, *, unless_made: bool = False) -> None:
    """Raise InputError if something has the name of what is to be made, or nothing can be made there.

    Args:
        out: what is to be made.
        unless_made: let a folder pass that `atomic_dir` made, which will compare what was asked.
    """
    _refuse_undecodable(out)
    if (out.exists() or out.is_symlink()) and not (unless_made and (out / _MADE).is_file()):
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    refuse_unwritable(out)


def refuse_occupied(folder: Path, what: str) -> None:
    """Raise InputError if a folder for `what`, such as "a queue", holds something or cannot be made.

    An empty folder is replaced by one that is whole, so that the folder around it must take new files.
    """
    _refuse_undecodable(folder)
    refuse_unwritable(folder)
    if not os.path.lexists(folder):
        return
    with reporting_disk(folder):
        if not folder.is_dir() or any(folder.iterdir()):
            raise InputError(f"{folder} already exists and is not {what}; choose another name or remove it.")
        place = folder.resolve()
        in_use = place.samefile(".") or place.is_mount()
    if in_use:
        raise InputError(
            f"{folder} cannot be replaced: it is the current folder or a mount point; choose a folder in it."
        )
    if not _takes_files(place.parent):
        raise InputError(
            f"{folder} cannot be replaced: {place.parent} takes no new files; choose a place you can write "
            "to."
        )


def _refuse_undecodable(out: Path) -> None:
    """Raise InputError if a name is no UTF-8: libraries that write and read tables take no such path."""
    if (text := printable(str(out))) != str(out):
        raise InputError(f"'{text}' is no name in UTF-8; choose another.")


def create_folder(folder: Path, what: str, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Make a folder that holds records (see `write_record`) from its first moment on, however this ends.

    Args:
        folder: must not exist, or be empty or a symbolic link to an empty folder.
        what: it is, such as "a queue".
        records: by file name.

    Raises:
        InputError: it holds something, or cannot be made.
    """
    refuse_occupied(folder, what)
    if folder.is_symlink():
        folder = folder.resolve()
    with reporting_disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_unborn(folder)
        unborn = _unborn(folder)
        try:
            unborn.mkdir()
            for name, content in records.items():
                write_record(unborn / name, content)
            unborn.rename(folder)
        finally:
            shutil.rmtree(unborn, ignore_errors=True)
        flush_folder(folder.parent)


def _remove_unborn(folder: Path) -> None:
    """Remove what processes that were killed in `create_folder` left."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*{_UNBORN}"):
        if not _is_another_process(path.name.removesuffix(_UNBORN).rpartition(".")[2]):
            shutil.rmtree(path, ignore_errors=True)


def _is_another_process(number: str) -> bool:
    """Whether a process of that number is alive, other than this one: in containers numbers come again."""
    try:
        if int(number) == os.getpid():
            return False
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass  # It is another user's.
    return True


@contextlib.contextmanager
def resumable_from(is_there: Callable[[], bool], otherwise: str = "") -> Iterator[None]:
    """Add to an interrupt that the command can resume, where `is_there`, or else `otherwise`."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not stop.args:
            stop.args = (RESUME_HINT,) if is_there() else (otherwise,)
        raise


@contextlib.contextmanager
def atomic_dir(
    out: Path, config: Mapping[str, Any], *, resumable: bool = False, besides: Collection[str] = ()
) -> Iterator[Path]:
    """Yield `OUT.partial` to write into; it becomes OUT when the block ends well.

    A partial folder left by a killed job is resumed (`resumable`) or emptied when it has the same
    configuration, and refused when it has another.

    Args:
        out: the folder to make; must not exist.
        config: JSON-able description of what will be made.
        resumable: keep the partial folder on an interrupt, and hand it over unemptied.
        besides: options of the command at work that change nothing in what it makes.

    Raises:
        InputError: OUT exists, cannot be written, or there is a partial of another configuration.
        AlreadyMade: OUT was made with this configuration, such as by a command that was killed at its end.
    """
    partial = _partial(out)
    wanted = config_hash(config)
    made = {"config": wanted, "command": _command(besides)}
    if _is_made(out, made):
        if lacking := _lacking(out):
            raise InputError(
                f"{out} was made by the same command, and {lacking} missing; restore that, or remove {out} "
                "to make it again."
            )
        raise AlreadyMade(f"{out} is there: the same command has made it; remove it to make it again.", out)
    refuse_existing(out)
    with reporting_disk(out):
        _prepare(partial, wanted, resumable)
        with _locked(partial):
            try:
                with resumable_from(lambda: resumable and _holds_work(partial)):
                    yield partial
                    write_json(partial / _MADE, {**made, **_contents(partial)})
                    (partial / _MARKER).unlink()
                    partial.rename(out)
                flush_folder(out.parent)
            except BaseException as error:
                interrupted = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
                if not (resumable and interrupted and _holds_work(partial)):
                    shutil.rmtree(partial, ignore_errors=True)
                raise


def _is_made(out: Path, wanted: Mapping[str, str | None]) -> bool:
    """Whether a folder was made by the command at work, from this configuration."""
    with contextlib.suppress(InputError, OSError, TypeError):
        made = read_json(out / _MADE)
        return isinstance(made, dict) and {key: made.get(key) for key in wanted} == wanted
    return False


def _lacking(out: Path) -> str:
    """Which files a folder held when it was made and lacks now, with the verb; empty where it holds all."""
    made, there = read_json(out / _MADE), _contents(out)
    for name in made.get("names") or ():
        if not (out / name).is_file():
            return f"{name} is"
    missing = (made.get("files") or 0) - there["files"]
    return agree(missing, "file", "is", "are") if missing > 0 else ""


def _command(besides: Collection[str]) -> str | None:
    """The hash of the command at work with all options that change what it makes."""
    call = invocation.record()
    if call is None:
        return None
    options = {
        key: value for key, value in call["options"].items() if key not in ("out", "workers", *besides)
    }
    return config_hash({"verb": call["verb"], "options": options})


def _contents(folder: Path) -> dict[str, Any]:
    """How many files a folder holds, without the markers, and the names of those that lie in no other."""
    walk = (names for *_, names in os.walk(folder))  # Of 300,000 files each µs counts.
    top = sorted(name for name in next(walk, ()) if name not in MARKERS)
    inner = sum(name not in MARKERS for names in walk for name in names)
    return {"files": len(top) + inner, "names": top[:_NAMED]}


def tree_hash(path: Path) -> str:
    """SHA-256 of the names, sizes and times of a file, or of all files below a folder."""
    digest = hashlib.sha256()
    for facts in sorted(_walk(path)) if path.is_dir() else [(path.name, *_facts(path.stat()))]:
        digest.update(repr(facts).encode(errors="backslashreplace"))
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of the files below a folder."""
    for place, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118  # Of 300,000 files each µs counts.
            with contextlib.suppress(OSError):
                yield path, *_facts(os.stat(path))  # noqa: PTH116


def _facts(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _holds_work(partial: Path) -> bool:
    return any(path.is_file() and path.name != _MARKER for path in partial.rglob("*"))


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Lock a partial folder against a second command that would write into it."""
    with (partial / _MARKER).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{partial} is being written by another process; wait for it or stop it."
            ) from None
        yield


def _prepare(partial: Path, wanted: str, resumable: bool) -> None:
    if partial.exists():
        marker = partial / _MARKER
        with contextlib.suppress(FileNotFoundError):  # Killed right before it was renamed.
            (partial / _MADE).rename(marker)
        content = read_json(marker) if marker.exists() else None
        found = content.get("config") if isinstance(content, dict) else None
        if found is not None and found != wanted:
            raise InputError(
                f"{partial} was left by a command with other options; give those again to finish it, "
                "or remove it."
            )
        begun = {_MARKER, _partial(Path(_MARKER)).name}
        if found is None and any(path.name not in begun for path in partial.iterdir()):
            raise InputError(f"{partial} was not made by Plenish; remove or rename it.")
        if found is not None:
            with _locked(partial):
                pass
        if not resumable:
            shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    write_json(partial / _MARKER, {"config": wanted})
