"""Types of the values in ``bundle.json``, with their ranges; the published schema has the same ones."""

from typing import Annotated, Any, TypeAlias

from pydantic import Field

_HIDDEN = r"\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc"
"""Control characters above ASCII, and those that are invisible or change the direction of text."""

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=500, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
"""One line that a terminal and a page show as it is."""

Sentence: TypeAlias = Annotated[str, Field(min_length=1, max_length=4000, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Text: TypeAlias = Annotated[str, Field(max_length=20_000, pattern=rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$")]
"""Of several lines."""

Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=1 << 16)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Distance: TypeAlias = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

ScoreRule: TypeAlias = Annotated[str, Field(pattern="^(difference|softmax)$")]
Weights: TypeAlias = Annotated[str, Field(pattern="^(float32|bfloat16|int8)$")]

_Side: TypeAlias = Annotated[str, Field(pattern="^(positive|negative)$")]
Phrasings: TypeAlias = Annotated[dict[_Side, Annotated[list[Sentence], Field(min_length=1)]], Field(min_length=2)]

_OfEstimate: TypeAlias = Annotated[str, Field(pattern="^(value|low|high)$")]
Estimate: TypeAlias = Annotated[dict[_OfEstimate, Share], Field(min_length=3)]

_OfMeasured: TypeAlias = Annotated[str, Field(pattern="^(auroc|n|n_positive)$")]
Measured: TypeAlias = Annotated[dict[_OfMeasured, Count | Estimate | None], Field(min_length=3)]

_OfPlugin: TypeAlias = Annotated[str, Field(pattern="^(plugin|settings|state)$")]
Plugin: TypeAlias = Annotated[dict[_OfPlugin, Any], Field(min_length=3)]

_OfClass: TypeAlias = Annotated[str, Field(pattern="^(class_path|init_args)$")]
Class: TypeAlias = Annotated[dict[_OfClass, Any], Field(min_length=1)]
