"""What became of each request, one line of JSON each. Knows no server and no clock."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One request and its reply; times in seconds from the start of the run.

    at_s: when it was due. sent_s: when it was sent. ended_s: when the reply was whole, or the
    caller gave up. status: None when there was no answer. model: that answered. Tokens as the
    server counted them, 0 without a reply.
    """

    index: int
    at_s: float
    sent_s: float
    ended_s: float
    slo_s: float
    status: int | None
    model: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0

    @property
    def e2e_s(self) -> float:
        """From when it was due, not from when it was sent.

        A load tool that falls behind a slow server would otherwise leave out the very waiting that
        the server caused (coordinated omission).
        """
        return self.ended_s - self.at_s

    @property
    def late_s(self) -> float:
        """How much later than due the load tool sent it."""
        return self.sent_s - self.at_s

    @property
    def is_served(self) -> bool:
        return self.status == 200

    @property
    def is_in_time(self) -> bool:
        return self.is_served and self.e2e_s <= self.slo_s

    @property
    def is_failure(self) -> bool:
        """The server's fault: a 5xx, or no answer at all."""
        return self.status is None or self.status >= 500

    @property
    def line(self) -> str:
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return json.dumps(rounded) + "\n"


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes the whole file or, when interrupted, none of it."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w") as file:
        file.writelines(record.line for record in records)
    unfinished.replace(path)


def read_records(path: Path) -> list[Record]:
    """
    Raises:
        ValueError: names the line that is no record.
    """
    records: list[Record] = []
    names = {field.name for field in fields(Record)}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            values = json.loads(line)
            records.append(Record(**{name: values[name] for name in names}))
        except (ValueError, TypeError, KeyError) as err:
            raise ValueError(
                f"{path} line {number}: {line[:80]!r} is no record of a request ({err}); delete "
                "the file and measure again"
            ) from err
    return records
