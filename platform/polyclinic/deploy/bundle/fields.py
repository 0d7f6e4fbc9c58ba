"""Types of the numbers and texts in ``bundle.json``, with their ranges."""

from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Field

_HIDDEN = r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc"
"""Control characters above ASCII, and those that are invisible or change the direction of text."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=500, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
"""A line that is safe to show in a terminal and on a page."""

Unit: TypeAlias = Annotated[str, Field(max_length=500, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Sentence: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Text: TypeAlias = Annotated[str, Field(max_length=20_000, pattern=rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$")]
"""Text of several lines, safe to show in a terminal and on a page."""

Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=1 << 16)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Distance: TypeAlias = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Scale: TypeAlias = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]

ScoreRule: TypeAlias = Annotated[str, Field(pattern="^(difference|softmax)$")]
LabelKind: TypeAlias = Annotated[str, Field(pattern="^(finding|class|level|quantity)$")]
Weights: TypeAlias = Annotated[str, Field(pattern="^(float32|bfloat16|int8)$")]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Exactly the declared keys, without type conversion, with finite numbers."""
