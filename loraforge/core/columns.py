"""Long lists by columns, and rows by their key: SQL that Django writes, written as seldom as possible.

Of a list's request Django spends more on writing SQL than the database on running it. Here only which rows
are meant is written for each request; counting them, and reading the columns of a page, is put around it.
One `ColumnRows` writes it once, however often it is asked.
"""

import time
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import msgspec
from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import JSONField, Model, QuerySet
from django.db.models.expressions import RawSQL

M = TypeVar("M", bound=Model)

_ORDER = " ORDER BY "
_KEYS = "SELECT 'the keys of the page'"
_KEY = -1  # stands for a key; nothing has it

# The number of rows of a long list is remembered: counting is the one part that grows with them. Below it, a total
# is counted each time, so that whoever adds a job sees one more.
LONG = 1000
REMEMBERED_S = 10
_REMEMBERED_MOST = 1000  # lists in one process
_totals: dict[tuple[str, tuple[Any, ...]], tuple[float, int]] = {}


class ColumnRows:
    """Columns (lookups) of a queryset's rows as tuples, in its order, for a paginator: it counts, and cuts.

    Two queries. The keys of a page are chosen first, inside: joining before that would sort ten thousand wide
    rows for fifty. The queryset must have an order of its own, by its own columns, and no slice.
    """

    ordered = True

    def __init__(self, rows: QuerySet[Any], columns: Sequence[str]) -> None:
        self._rows = rows
        self._columns = tuple(columns)

    @cached_property
    def _chosen(self) -> tuple[str, str, tuple[Any, ...]]:
        """SQL of all keys, their order, and parameters. Raises EmptyResultSet where Django knows it is empty."""
        sql, params = self._rows.values("pk").query.sql_with_params()
        keys, order_by, order = str(sql).rpartition(_ORDER)
        if not order_by:
            message = "only ordered rows come in pages"
            raise ValueError(message)
        return keys, order_by + order, tuple(params)

    def count(self) -> int:
        """How many rows there are in all; of `LONG` lists, how many there were up to `REMEMBERED_S` ago."""
        try:
            keys, _order, params = self._chosen
        except EmptyResultSet:
            return 0
        now = time.monotonic()
        until, total = _totals.get((keys, params), (0.0, 0))
        if now < until:
            return total
        with planned_cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM ({keys}) AS listed", params)  # noqa: S608 - SQL that Django wrote
            total = int(cursor.fetchone()[0])
        if total >= LONG:
            if len(_totals) >= _REMEMBERED_MOST:
                _totals.clear()
            _totals[keys, params] = (now + REMEMBERED_S, total)
        return total

    def __getitem__(self, part: slice) -> list[Sequence[Any]]:
        try:
            keys, order, params = self._chosen
        except EmptyResultSet:
            return []
        first, end = part.start or 0, part.stop
        model: Any = self._rows.model
        order_by = tuple(self._rows.query.order_by)
        sql, compiler, converters = _outside(model, self._columns, order_by)
        page = f"{keys}{order} LIMIT {int(end - first)} OFFSET {int(first)}"
        with planned_cursor() as cursor:
            cursor.execute(sql.replace(_KEYS, page), params)
            found = cursor.fetchall()
        return list(compiler.apply_converters(found, converters)) if converters else found


def columns_read(rows: QuerySet[Any], columns: Sequence[str]) -> list[Any]:
    """Columns (lookups) of all rows of a queryset, as lists in its order."""
    compiler = rows.values_list(*columns).query.get_compiler(DEFAULT_DB_ALIAS)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        found = cursor.fetchall()
    return list(compiler.apply_converters(found, _converters(compiler)))


def columns_of_key(
    rows: Callable[[int], QuerySet[Any]], columns: tuple[str, ...], key: int
) -> list[Any]:
    """The same of rows that nothing but a key makes others. rows: makes them of it; called once per process."""
    sql, params, compiler, converters = _of_key(rows, columns)
    with planned_cursor() as cursor:
        cursor.execute(sql, tuple(key if value == _KEY else value for value in params))
        found = cursor.fetchall()
    return list(compiler.apply_converters(found, converters))


@lru_cache(maxsize=50)
def _of_key(
    rows: Callable[[int], QuerySet[Any]], columns: tuple[str, ...]
) -> tuple[str, Any, Any, Any]:
    compiler = rows(_KEY).values_list(*columns).query.get_compiler(DEFAULT_DB_ALIAS)
    sql, params = compiler.as_sql()
    return sql, params, compiler, _converters(compiler)


def planned_cursor() -> Any:
    """One that plans a statement once, where the database's driver has such (SQLite's always does)."""
    prepared = getattr(connection, "prepared_cursor", connection.cursor)
    return prepared()


@lru_cache(maxsize=200)
def _outside(
    model: type[Model], columns: tuple[str, ...], order_by: tuple[str, ...]
) -> tuple[str, Any, Any]:
    """SQL of the columns with `_KEYS` in place of the keys, and what makes Python's values of them."""
    keys = RawSQL(_KEYS, ())  # noqa: S611 - a constant
    rows: QuerySet[Any] = QuerySet(model).filter(pk__in=keys).order_by(*order_by)
    compiler = rows.values_list(*columns).query.get_compiler(DEFAULT_DB_ALIAS)
    sql, _params = compiler.as_sql()
    return sql, compiler, _converters(compiler)


def _converters(compiler: Any) -> dict[int, tuple[list[Any], Any]]:
    """What Django makes Python's values with; JSON is read by msgspec, in a tenth of the time."""
    found = compiler.get_converters(one[0] for one in compiler.select)
    return {
        place: ([_json if _is_json(one) else one for one in each], column)
        for place, (each, column) in found.items()
    }


def _is_json(converter: Any) -> bool:
    return getattr(converter, "__func__", None) is JSONField.from_db_value


def _json(value: str | None, _column: Any, _connection: Any) -> Any:
    return None if value is None else msgspec.json.decode(value)


def row_by_key(model: type[M], key: int) -> M | None:
    """The row with this key. For those that every request needs: Django writes the same SQL anew each time."""
    sql, compiler, converters, names = _by_key(model)
    with planned_cursor() as cursor:
        cursor.execute(sql, (key,))
        found = cursor.fetchmany(1)
    for values in compiler.apply_converters(found, converters):
        return model.from_db(DEFAULT_DB_ALIAS, names, values)
    return None


@lru_cache(maxsize=50)
def _by_key(model: type[Model]) -> tuple[str, Any, Any, list[str]]:
    """SQL of all columns of a row, what makes Python's values of them, and the names of their fields."""
    rows: QuerySet[Any] = QuerySet(model).filter(pk=_KEY)
    compiler = rows.query.get_compiler(DEFAULT_DB_ALIAS)
    sql, _params = compiler.as_sql()
    names = [column.target.attname for column, _sql, _alias in compiler.select]
    return sql, compiler, _converters(compiler), names
