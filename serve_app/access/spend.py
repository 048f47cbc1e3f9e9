"""What each key has cost this month. Amounts and a date in, sums and bytes out; pure."""

import json
from collections import defaultdict
from datetime import date, datetime, timedelta


class MonthlySpend:
    """USD by key id, from nothing again on the first of each month."""

    def __init__(self) -> None:
        self._month = ""
        self._usd: defaultdict[str, float] = defaultdict(float)

    def add(self, key_id: str, usd: float, today: date) -> None:
        self._turn(today)
        if usd:
            self._usd[key_id] += usd

    def spent(self, key_id: str, today: date) -> float:
        self._turn(today)
        return self._usd.get(key_id, 0.0)

    def dump(self) -> bytes:
        return json.dumps({"month": self._month, "usd": dict(self._usd)}).encode()

    def restore(self, data: bytes, today: date) -> None:
        """Adds what `dump` made to what came since, if it was this month.

        Raises:
            ValueError: the bytes are something else.
        """
        kept = json.loads(data)
        try:
            month, usd = str(kept["month"]), {str(k): float(v) for k, v in kept["usd"].items()}
        except (KeyError, TypeError, AttributeError) as err:
            raise ValueError("not a record of spending") from err
        self._turn(today)
        if month == self._month:
            for key_id, amount in usd.items():
                self._usd[key_id] += amount

    def _turn(self, today: date) -> None:
        month = f"{today:%Y-%m}"
        if month != self._month:
            self._month = month
            self._usd.clear()


def until_next_month_s(now: datetime) -> float:
    """Seconds until budgets begin again."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return (following - now).total_seconds()
