"""Open an input table of any supported format, or say in one sentence why it cannot be read."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, DataFrameReader, SparkSession

from jobs.raw.compression import codec_of
from jobs.raw.conversion import Converted, RawFile, convert, describe_converted, folder_of
from jobs.raw.options import FILE_FORMATS, ReadingSettings
from jobs.raw.sources import GLOB_CHARACTERS, DataFiles, choose_files, format_of
from jobs.spark.errors import spark_condition
from jobs.storage.java import HADOOP_PATH, java_class
from jobs.tables.exact import exact_reader
from jobs.tables.folders import folder_keys, has_empty_value, refuse_overridden, with_folder_columns
from jobs.tables.json_numbers import without_rounded
from jobs.tables.parquet import read_parquet
from jobs.tables.widening import read_alike, union_alike
from sentiment_core.errors import AuditError, InputError

__all__ = [
    "CORRUPT_RECORD",
    "INPUT_FORMATS",
    "OpenedTable",
    "data_files",
    "hadoop_path",
    "is_path",
    "open_input",
    "open_table",
    "refusing_unopenable",
    "refusing_unreadable",
]

_LOGGER = logging.getLogger(__name__)

INPUT_FORMATS = (*FILE_FORMATS, "table")
# JSON records that Spark cannot read, although they are valid, end up here; their text must not get into a message.
CORRUPT_RECORD = "__malformed_record"
# Which tools write beside Parquet files, and Spark lists among them.
_SUMMARIES = ("/_metadata", "/_common_metadata")
# A path from the root, or a URI.
_ABSOLUTE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")
# What Spark says of a codec of Parquet pages that it has no class for.
_MISSING_CODEC = re.compile(r"Class [\w.]*?(\w+)Codec was not found")
_UNREADABLE = (
    "FAILED_READ_FILE",
    "CANNOT_READ_FILE_FOOTER",
    "is not a Parquet file",
    "Could not read footer",
    "Failed to read footer",
    "CANNOT_MERGE_SCHEMAS",
    "FAILED_MERGE_SCHEMA",
    "UNABLE_TO_INFER_SCHEMA",
    "PARQUET_TYPE_ILLEGAL",
    "PARQUET_TYPE_NOT_RECOGNIZED",
    "PARQUET_TYPE_NOT_SUPPORTED",
    "PARQUET_CONVERSION_FAILURE",
    "PARQUET_COLUMN_DATA_TYPE_MISMATCH",
    "CONFLICTING_DIRECTORY_STRUCTURES",
    "CONFLICTING_PARTITION_COLUMN_NAMES",
    "ParquetDecodingException",
    "ChecksumException",
    "crc mismatch",
    "Invalid UTF-8",
    "PATH_NOT_FOUND",
    "UnsupportedOperationException",  # of a file system that cannot list a folder
)


@dataclass(frozen=True, kw_only=True)
class OpenedTable:
    """An input that was opened.

    Attributes
    ----------
    frame : DataFrame
        With the column `CORRUPT_RECORD` if Spark found a malformed record.
    parquet_files : tuple of str
        Its Parquet files, as Spark names them.
    converted : tuple of Converted
        Its CSV and JSON files.
    """

    frame: DataFrame
    parquet_files: tuple[str, ...] = ()
    converted: tuple[Converted, ...] = ()

    @property
    def malformed(self) -> str:
        """The records that were set aside, one JSON object a line."""
        return "".join(each.malformed.as_json_lines() for each in self.converted)

    def describe(self) -> dict[str, Any]:
        """For the run report: how CSV and JSON files were read; nothing of other inputs."""
        return {"raw_files": describe_converted(self.converted)} if self.converted else {}


def open_table(session: SparkSession, source: str, *, input_format: str | None = None) -> DataFrame:
    """Open a table as `open_input` does, with default settings."""
    return open_input(session, [source], input_format=input_format).frame


def open_input(
    session: SparkSession,
    sources: Sequence[str],
    *,
    input_format: str | None = None,
    settings: ReadingSettings | None = None,
    wanted: Sequence[str] = (),
    workspace: str | None = None,
) -> OpenedTable:
    """Open tables of the same columns as one. Parquet files are not read yet; CSV and JSON files are read once.

    Parameters
    ----------
    session : SparkSession
    sources : sequence of str
        Each a file, a directory (every data file below it), a pattern such as ``reviews/*.csv``, any URI that Hadoop
        knows, or the name of a catalog table.
    input_format : str, optional
        One of ``INPUT_FORMATS``; by default a file is what its suffix says, else Parquet, and what is no path is a
        table.
    settings : ReadingSettings, optional
    wanted : sequence of str
        Columns that will be read, as far as they are known.
    workspace : str, optional
        A directory that executors on other machines reach.

    Returns
    -------
    OpenedTable

    Raises
    ------
    InputError
        If there is no such input, its schema cannot be read or its records are malformed.
    """
    settings = settings or ReadingSettings()
    found = []
    known: dict[str, str] = {}
    for source in _expanded(session, sources, input_format=input_format):
        with refusing_unopenable(source), refusing_unreadable(source):
            files = data_files(session, source) if input_format != "table" else None
            if files is None:
                found.append((source, OpenedTable(frame=_open_catalog_table(session, source))))
                continue
            if not files:
                raise InputError(f"{source}: no data file there; name a file or a directory that holds some")
            chosen = choose_files(source, files, input_format=input_format)
            _refuse_twice(session, source, chosen.names, known=known)
            if chosen.passed_over:
                _LOGGER.info("%s: passed over as no data: %s", source, ", ".join(chosen.passed_over))
            if chosen.format == "parquet":
                _refuse_no_parquet(session, source, chosen.names, is_given=input_format is not None)
                found.append((source, _open_parquet(session, source, chosen)))
            else:
                raw = [_raw_file(session, source, name) for name in chosen.names]
                converted = convert(
                    raw, source=source, file_format=chosen.format, settings=settings, wanted=tuple(wanted)
                )
                table = _open_converted(session, converted, source=source, files=chosen.names, workspace=workspace)
                found.append((source, table))
    if len(found) == 1:
        return found[0][1]
    return OpenedTable(
        frame=union_alike([(source, each.frame) for source, each in found]),
        parquet_files=tuple(file for _, each in found for file in each.parquet_files),
        converted=tuple(converted for _, each in found for converted in each.converted),
    )


def is_path(session: SparkSession, source: str) -> bool:
    """Whether there is a file or folder of this name, or some that it is a pattern of."""
    return data_files(session, source) is not None or bool(_matches(session, source))


def _expanded(session: SparkSession, sources: Sequence[str], *, input_format: str | None) -> list[str]:
    """Patterns replaced by what they match; a name that exists is none, whatever its characters."""
    names: list[str] = []
    for source in sources:
        exists = input_format == "table" or data_files(session, source) is not None
        matches = [] if exists else _matches(session, source)
        if not exists and not matches and GLOB_CHARACTERS.search(source):
            raise InputError(f"{source}: no file matches; check --input")
        names += matches or [source]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InputError(f"--input names {twice} twice; each row would be scored twice: name it once")
    return names


def _refuse_twice(session: SparkSession, source: str, names: Sequence[str], *, known: dict[str, str]) -> None:
    """Refuse a file that was named already, by another path or a link; `known` maps real paths to what names them."""
    fs, root = hadoop_path(session, source)
    is_local = fs.getUri().getScheme() == "file"
    base = root.toUri().getPath() if is_local else root.toString()
    for name in names:
        location, path = _below(source, name), _below(base, name)
        real = os.path.realpath(path) if is_local else path
        if real in known:
            raise InputError(
                f"{location} and {known[real]} are the same file, whose rows would be scored twice; name it once"
            )
        known[real] = location
    if is_local:
        _refuse_dangling(base)


def _refuse_dangling(folder: str) -> None:
    """Refuse a link to nothing: Hadoop passes over it as if there were no file."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        for path in (Path(parent) / name for name in files if not _is_hidden(name)):
            if path.is_symlink() and not path.exists():
                raise InputError(f"{path}: links to {path.readlink()}, which is not there; mount it or remove the link")


def _refuse_no_parquet(session: SparkSession, source: str, names: Sequence[str], *, is_given: bool) -> None:
    """Refuse what is taken for Parquet since its name does not say what it is, and is none by its first bytes."""
    name = next((_below(source, name) for name in names if format_of(_below(source, name)) is None), None)
    if name is None:
        return
    fs, path = hadoop_path(session, name)
    stream = fs.open(path)
    try:
        head = bytes(stream.readNBytes(16))
    finally:
        stream.close()
    if head.startswith((b"PAR1", b"PARE")):  # the latter of encrypted footers
        return
    try:
        codec = codec_of(head)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if not is_given:
        packed = f"is packed with {codec}, and " if codec is not None else ""
        raise InputError(
            f"{name}: {packed}is no Parquet file, and its name does not say what it is; name its format with "
            "--input-format csv or json"
        )


def _matches(session: SparkSession, source: str) -> list[str]:
    """Paths that a pattern matches, hidden ones left out."""
    if not GLOB_CHARACTERS.search(source):
        return []
    fs, path = hadoop_path(session, source)
    try:
        statuses = fs.globStatus(path) or []
    except Py4JJavaError as error:
        raise InputError(f"{source}: is no valid pattern; check its brackets") from error
    paths = [status.getPath() for status in statuses if not status.getPath().getName().startswith(("_", "."))]
    is_local = fs.getUri().getScheme() == "file"
    return sorted(path.toUri().getPath() if is_local else path.toString() for path in paths)


def data_files(session: SparkSession, source: str) -> list[str] | None:
    """Data files at or below a path, relative to it, without hidden ones; None if there is no such path."""
    fs, root = hadoop_path(session, source)
    found = []
    with refusing_unreadable(source):
        if not fs.exists(root):
            return None
        base = fs.getFileStatus(root).getPath().toUri().getPath()
        listing = fs.listFiles(root, True)
        while listing.hasNext():
            name = listing.next().getPath().toUri().getPath().removeprefix(base).lstrip("/")
            if not _is_hidden(name):
                found.append(name)
    return sorted(found)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in PurePosixPath(name).parts)


def hadoop_path(session: SparkSession, location: str) -> tuple[Any, Any]:
    """File system and qualified path of a location.

    Raises
    ------
    InputError
        If it is empty or of a scheme that this Spark has no file system for.
    """
    jvm: Any = session._jvm
    if any(0xD800 <= ord(character) < 0xE000 for character in location):
        raise InputError(f"{location!a} is no UTF-8, and Spark names files in it; rename it")
    if ":" in location and not _ABSOLUTE.match(location):
        location = f"./{location}"  # else what stands before the colon would be a scheme
    try:
        path = java_class(jvm, HADOOP_PATH)(location)
        fs = path.getFileSystem(session._jsparkSession.sessionState().newHadoopConf())
        return fs, path.makeQualified(fs.getUri(), fs.getWorkingDirectory())
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"{location!r} is no path that this Spark can open; check its scheme and spelling") from error


@contextmanager
def refusing_unreadable(source: str) -> Iterator[None]:
    """Turn Spark's complaints about unreadable input into an `InputError`; other errors pass."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        text = f"{type(error).__name__}: {error}"
        if "TIMESTAMP(NANOS" in text:
            raise InputError(
                f"{source}: holds nanosecond timestamps, which Spark cannot read; write them as microseconds"
            ) from error
        codec = _MISSING_CODEC.search(text)
        if codec is not None:
            raise InputError(
                f"{source}: is compressed with {codec[1]}, which this Spark cannot read; write it with zstd, snappy or "
                "gzip, or give Spark the codec's jar with --jars"
            ) from error
        if "COLUMN_ALREADY_EXISTS" in text:
            raise InputError(f"{source}: has two columns whose names differ in case only; rename one") from error
        for sign in _UNREADABLE:
            if sign in text:
                raise InputError(
                    f"{source}: cannot be read ({sign}); a file is damaged or of another format or schema: "
                    "replace it, or name the format with --input-format"
                ) from error
        raise


@contextmanager
def refusing_unopenable(source: str) -> Iterator[None]:
    """Turn whatever else Spark refuses while it opens an input into an `InputError`, by Spark's name of the error.

    No row has been read yet, but of a file without a header, the names of columns are a review: so no message.
    """
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        raise InputError(
            f"{source}: Spark cannot open it ({spark_condition(error)}); write it anew as Parquet, or name its format "
            "with --input-format"
        ) from error


def _open_catalog_table(session: SparkSession, name: str) -> DataFrame:
    try:
        return session.table(name)
    except (AnalysisException, ParseException) as error:
        raise InputError(
            f"{name}: no such path or table; check --input (the tables of a Hive metastore need "
            "--conf spark.sql.catalogImplementation=hive)"
        ) from error


def _open_parquet(session: SparkSession, source: str, chosen: DataFiles) -> OpenedTable:
    read = partial(_reader, session, source, files=chosen.names)
    paths = [_below(source, name) for name in chosen.names]
    roots = [source] if not chosen.passed_over else paths
    alike = partial(read_alike, read, roots, files=paths, source=source, session=session)
    frame = read_parquet(session, read, roots, files=paths, attempt=alike)
    frame = _with_folders(session, frame, chosen.names, source=source, file_format="parquet")
    files = tuple(name for name in frame.inputFiles() if not name.endswith(_SUMMARIES))
    if len(files) != len(chosen.names):
        raise InputError(
            f"{source}: Spark would read {len(files):,} files there, not {len(chosen.names):,}; rename files and "
            "folders whose names hold a = or begin with _"
        )
    return OpenedTable(frame=frame, parquet_files=files)


def _with_folders(
    session: SparkSession, frame: DataFrame, names: Sequence[str], *, source: str, file_format: str
) -> DataFrame:
    """The frame with columns of folders that Spark does not open; refuses files that contradict their folder."""
    keys = folder_keys(names)
    if keys:
        files = [file for file in frame.inputFiles() if not file.endswith(_SUMMARIES)]
        refuse_overridden(session, files, keys=keys, source=source, file_format=file_format)
    return with_folder_columns(frame, keys) if has_empty_value(names) else frame


def _open_converted(
    session: SparkSession, converted: Converted, *, source: str, files: Sequence[str], workspace: str | None
) -> OpenedTable:
    folder = converted.folder.as_uri()
    if workspace is not None and not str(session.sparkContext.master).startswith("local"):
        folder = _shared(session, converted.folder, workspace)
    reader = _reader(session, folder, files=files)
    if converted.format == "parquet":
        frame = reader.parquet(folder)
    else:
        frame = reader.option("columnNameOfCorruptRecord", CORRUPT_RECORD).json(folder)
        long_numbers = {path for file in converted.files for path in file["long_numbers"]}
        frame = without_rounded(frame, long_numbers)
    frame = _with_folders(session, frame, files, source=source, file_format=converted.format)
    found = frame.count()
    if found != converted.rows:
        raise AuditError(
            f"{converted.rows:,} rows of the input were written to {folder} and {found:,} read back; disk or memory "
            "is faulty: "
            "run again, nothing was published"
        )
    return OpenedTable(frame=frame, converted=(converted,))


def _reader(session: SparkSession, source: str, *, files: Sequence[str]) -> DataFrameReader:
    reader = exact_reader(session)
    if _is_partitioned(files, source=source) and not has_empty_value(files):
        return reader.option("basePath", source)
    # Without it, Spark ignores files in folders that are not named `column=value`.
    return reader.option("recursiveFileLookup", "true")


def _raw_file(session: SparkSession, source: str, name: str) -> RawFile:
    location = _below(source, name)
    fs, path = hadoop_path(session, location)
    status = fs.getFileStatus(path)
    return RawFile(
        name=location,
        folder=folder_of(name),
        version=(status.getLen(), status.getModificationTime()),
        local=partial(_local, session, location),
    )


@contextmanager
def _local(session: SparkSession, location: str) -> Iterator[Path]:
    """A file on this machine; one from elsewhere is fetched for as long as it is read."""
    fs, path = hadoop_path(session, location)
    if fs.getUri().getScheme() == "file":
        yield Path(path.toUri().getPath())
        return
    jvm: Any = session._jvm
    with tempfile.TemporaryDirectory(prefix="sentiment-") as folder:
        target = Path(folder) / "file"
        fs.copyToLocalFile(False, path, java_class(jvm, HADOOP_PATH)(target.as_uri()), True)
        yield target


def _shared(session: SparkSession, folder: Path, workspace: str) -> str:
    """Put converted files where executors on other machines reach them, until this application ends."""
    jvm: Any = session._jvm
    fs, root = hadoop_path(session, workspace)
    area = java_class(jvm, HADOOP_PATH)(root, f"_reading-{session.sparkContext.applicationId}")
    target = java_class(jvm, HADOOP_PATH)(area, folder.name)
    if not fs.exists(target):
        fs.mkdirs(area)
        fs.deleteOnExit(area)
        fs.copyFromLocalFile(java_class(jvm, HADOOP_PATH)(folder.as_uri()), target)
    return str(target.toString())


def _below(source: str, name: str) -> str:
    return f"{source.rstrip('/')}/{name}" if name else source


def _is_partitioned(files: Sequence[str], *, source: str) -> bool:
    """Whether the files lie in ``column=value`` folders; of a mixture, Spark would silently read a part."""
    layouts = {tuple(part.partition("=")[0] if "=" in part else None for part in _folders(name)) for name in files}
    if not any(key is not None for layout in layouts for key in layout):
        return False
    if len(layouts) > 1 or None in next(iter(layouts)):
        raise InputError(f"{source}: holds files in and beside column=value folders; give each layout as its own input")
    return True


def _folders(name: str) -> tuple[str, ...]:
    return PurePosixPath(name).parts[:-1]
