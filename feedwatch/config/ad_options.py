"""The API's adOptions (contract: AdOptions).

Closed, as the contract is: a misspelt field would pass unseen and cost money.
"""

from math import inf
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from feedwatch.config.values import expected


def _number(value: object) -> int | float:
    """JSON's numbers; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        expected("a number, zero or more")
    return value


def _count(value: object) -> int:
    number = _number(value)
    if number != int(number):
        expected("a whole number, zero or more")
    return int(number)


Number = Annotated[int | float, BeforeValidator(_number)]
Count = Annotated[int, BeforeValidator(_count)]


class _AdModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class AdConfiguration(_AdModel):
    """One ad break."""

    ad_count: Count
    min_duration: Number | None = None
    max_duration: Number | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.min_duration or 0) > (inf if self.max_duration is None else self.max_duration):
            expected("minDuration to be at most maxDuration")
        return self


class AutomatedMidRolls(AdConfiguration):
    """Ad breaks that the API places by itself."""

    insertion_count: Count | None = None
    ads_per_hour: Number | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.insertion_count is not None and self.ads_per_hour is not None:
            expected("insertionCount or adsPerHour, not both of them")
        return self


class MidRoll(AdConfiguration):
    """An ad break at a given second."""

    time: Number


class AdOptions(_AdModel):
    """The four kinds of ad break."""

    pre_roll: AdConfiguration | None = None
    post_roll: AdConfiguration | None = None
    automated_mid_rolls: AutomatedMidRolls | None = None
    mid_rolls: list[MidRoll] | None = None

    def as_sent(self) -> dict[str, Any]:
        """What stands in the request: what was set, by the API's names."""
        return self.model_dump(by_alias=True, exclude_none=True)
