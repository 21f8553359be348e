"""Rows of a Parquet file as JSON lines. Imported by the checking process alone: pyarrow takes 60 MB.

Columns of bytes are refused: a line of JSON has no bytes, and images belong beside the rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from loraforge.datasets.rowformats import Refused

BATCH_BYTES = 4 * 1024**2
BATCH_ROWS = 1000
BUFFER_BYTES = 1024**2


def rows_of(path: Path, say: Callable[[float], None]) -> Iterator[bytes]:
    """Lines; ``say`` is told which share of the rows is done. Raises Refused."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False, memory_map=False)
        _columns_check(file.schema_arrow)
        done, total = 0, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=_batch_rows(file), use_threads=False):
            yield from _lines(batch)
            done += batch.num_rows
            say(done / total)
    except MemoryError as error:  # pyarrow's own too
        raise Refused("rows:too_complex") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise Refused("rows:parquet_broken", detail=str(error)[:120]) from error


def _lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for row in batch.to_pylist():
        try:
            yield encode({name: value for name, value in row.items() if value is not None})
        except (TypeError, UnicodeEncodeError, OverflowError) as error:
            raise Refused("rows:parquet_broken", detail=str(error)[:120]) from error


def _batch_rows(file: pq.ParquetFile) -> int:
    """As many rows as make a few MiB, by what the file says of itself."""
    groups = file.metadata.num_row_groups
    held = sum(
        file.metadata.row_group(number).total_byte_size for number in range(min(groups, 100))
    )
    rows = sum(file.metadata.row_group(number).num_rows for number in range(min(groups, 100)))
    fitting: int = BATCH_BYTES * max(1, rows) // max(1, held)
    return max(1, min(BATCH_ROWS, fitting))


def _columns_check(schema: pa.Schema) -> None:
    for field in schema:
        if _has_bytes(field.type):
            raise Refused("rows:bytes_column", column=field.name[:60])


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    if pa.types.is_fixed_size_binary(kind):
        return True
    return any(_has_bytes(kind.field(number).type) for number in range(kind.num_fields))
