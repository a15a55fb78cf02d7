"""The command `amper validate`: checks as tables, a table a kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hwsim.validate import NOT_COVERED, SCOPES, Check

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, columns, lines


def tables(checks: Sequence[Check]) -> Iterator[Table]:
    """Yield a table a kind of check: signed errors, and what they are held to."""
    for kind, scope in SCOPES.items():
        mine = [check for check in checks if check.kind == kind]
        if mine:
            title = f"{kind.capitalize()}. {scope}"
            yield (title, *_by_subject(mine)) if kind in ("fitted", "held out") else (title, *_by_check(mine))


def _by_subject(checks: Sequence[Check]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return a line an array, a column a quantity: errors in percent, limits in the last line."""
    quantities = list(dict.fromkeys(check.quantity for check in checks))
    errors = {(check.subject, check.quantity): f"{check.error:+.2%}" for check in checks}
    limits = {check.quantity: check.limit for check in checks}
    lines = [
        (subject, *(errors[subject, quantity] for quantity in quantities))
        for subject in dict.fromkeys(check.subject for check in checks)
    ]
    worst = {q: max((c.error for c in checks if c.quantity == q), key=abs) for q in quantities}
    lines.append(("worst", *(f"{worst[q]:+.2%}" for q in quantities)))
    lines.append(("limit", *("-" if limits[q] is None else f"{limits[q]:.0%}" for q in quantities)))
    return ("array", *quantities), lines


def _by_check(checks: Sequence[Check]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    return (
        ("subject", "quantity", "point", "simulator", "error", "held to"),
        [
            (
                c.subject,
                c.quantity,
                f"{_number(c.expected)} {c.unit}",
                f"{_number(c.found)} {c.unit}",
                f"{c.error:+.1%}",
                _held(c),
            )
            for c in checks
        ],
    )


def _held(check: Check) -> str:
    if check.limit is not None:
        return f"{check.limit:.0%}: {'met' if check.holds else 'MISSED'}"
    if check.interval is None:
        return "-"
    low, high = check.interval
    return f"{_number(low)} to {_number(high)}: {'inside' if check.holds else 'outside'}"


def _number(value: float) -> str:
    """Return four digits of a number, without an exponent.

    Examples
    --------
    >>> _number(1263.904), _number(0.35), _number(10.336)
    ('1,264', '0.35', '10.34')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def summary(checks: Sequence[Check]) -> str:
    """Return how many checks keep to their limits, how many points lie in stated intervals, and what none covers."""
    limited = [check for check in checks if check.limit is not None]
    spanned = [check for check in checks if check.limit is None and check.interval is not None]
    lines = [
        f"{sum(bool(c.holds) for c in limited)} of {len(limited)} checks with a limit keep to it; "
        f"{sum(bool(c.holds) for c in spanned)} of {len(spanned)} points lie in the interval that is stated for them.",
        "Not covered:",
        *(f"- {text}" for text in NOT_COVERED),
    ]
    return "\n".join(lines)


def failed(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that miss their limit."""
    return [check for check in checks if check.limit is not None and not check.holds]


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return all checks as JSON-serialisable values."""
    return {
        "checks": [{**asdict(c), "error": c.error, "holds": c.holds} for c in checks],
        "scopes": dict(SCOPES),
        "not_covered": list(NOT_COVERED),
        "n_failed": len(failed(checks)),
    }
