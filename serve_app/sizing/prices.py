"""What accelerators and hosted APIs cost, dated. A YAML file in, a PriceList out.

The list that comes with Tandem is prices.yaml beside this file. Prices change within months: look
yours up, and give them in a file of the same form.
"""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SHIPPED = Path(__file__).with_name("prices.yaml")


class _Dated(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str = Field(min_length=4)
    source: str = Field(min_length=1)


class AcceleratorPrice(_Dated):
    """One accelerator on demand, in USD per hour."""

    usd_per_hour: float = Field(gt=0)


class HostedPrice(_Dated):
    """A hosted API, in USD per million tokens."""

    usd_per_1m_input: float = Field(ge=0)
    usd_per_1m_output: float = Field(ge=0)


class PriceList(BaseModel):
    """Prices by the name of the accelerator and of the hosted model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accelerators: dict[str, AcceleratorPrice] = Field(default_factory=dict)
    hosted: dict[str, HostedPrice] = Field(default_factory=dict)

    def over(self, other: "PriceList") -> "PriceList":
        """These, and of `other` what is missing here."""
        return PriceList(
            accelerators={**other.accelerators, **self.accelerators},
            hosted={**other.hosted, **self.hosted},
        )


def read_prices(path: Path = SHIPPED) -> PriceList:
    """
    Raises:
        ValueError: the file is no price list; it names each field.
        OSError: it cannot be read.
    """
    try:
        return PriceList.model_validate(yaml.safe_load(path.read_text()) or {})
    except (ValidationError, yaml.YAMLError) as err:
        raise ValueError(f"--prices {str(path)!r} is no price list: {err}") from err
