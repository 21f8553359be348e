"""Numbers, also of bytes, as people read them; static/js/core/format.js writes the same."""

import math
from decimal import Decimal

STEP = 1000
WHOLE_FROM = 100  # from here on a tenth is no news
UNITS = ("B", "KB", "MB", "GB", "TB")
GIB = 2**30
SMALL, LARGE = 1e-3, 1e6


def file_size(count: int) -> str:
    """``162 MB``: files and disks count in powers of ten."""
    value, unit = float(count), 0
    while value >= STEP and unit < len(UNITS) - 1:
        value /= STEP
        unit += 1
    return f"{_figure(value, whole=unit == 0)} {UNITS[unit]}"


def memory_size(count: int) -> str:
    """``80.0 GiB``: memory counts in powers of two."""
    return f"{_figure(count / GIB)} GiB"


def figure_of(value: float) -> str:
    """``5.038``, ``1.2e-5``: four significant figures; very small and very large ones with an exponent."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or SMALL <= abs(value) < LARGE:
        return format(Decimal(f"{value:.4g}").normalize(), "f")
    digits, _e, power = f"{value:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def _figure(value: float, *, whole: bool = False) -> str:
    return f"{value:.0f}" if whole or value >= WHOLE_FROM else f"{value:.1f}"
