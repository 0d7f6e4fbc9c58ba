"""Values, codes and times of FHIR R4 data types."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from polyclinic.cohort.ward.coding import code_of, preferred, system_name
from polyclinic.cohort.ward.left_out import NotUsed
from polyclinic.cohort.ward.times import version_text
from polyclinic.cohort.ward.values import COMPARATORS, number_in_range
from polyclinic.modality import Moment, ReferenceRange, Value

_TEXTS = ("valueString", "valueTime", "valueDateTime")


def concept_code(concept: Any) -> str:
    """Return the code of a CodeableConcept; empty where it has neither a code nor a text."""
    if concept is None:
        return ""
    codings = concept.coding or []
    code, system = preferred([(each.code or "", each.system or "") for each in codings])
    displays = (each.display for each in codings if each.display)
    return code_of(code, system, concept.text or next(displays, ""))


def moment_of_element(stated: Any) -> Moment | None:
    """Return a dateTime or instant; None where it is absent, or only a year or a month."""
    if isinstance(stated, datetime):
        return Moment.of(stated, "second")
    if isinstance(stated, date):
        return Moment.of(datetime(stated.year, stated.month, stated.day), "day")
    return None


def effective_time(resource: Any) -> Moment | None:
    """Return the time of a measurement or an examination: of a period, its end, else its start."""
    period = resource.effectivePeriod
    stated = (
        resource.effectiveDateTime,
        getattr(resource, "effectiveInstant", None),
        *((period.end, period.start) if period is not None else ()),
    )
    return next((moment for each in stated if (moment := moment_of_element(each)) is not None), None)


def resource_version(resource: Any) -> str:
    """Return the time of the last change in ``meta``, then its version, as text that sorts; empty without a time."""
    meta = resource.meta
    if meta is None or not isinstance(meta.lastUpdated, datetime):
        return ""
    return f"{version_text(meta.lastUpdated)} {(meta.versionId or '')[:12]:>12}"


def value_of(element: Any) -> Value:
    """Return the value of an Observation or of one of its components.

    Raises:
        NotUsed: it has no value, one of another kind, or a number that does not fit into 32 bits.
    """
    if element.valueQuantity is not None:
        return _quantity(element.valueQuantity)
    if element.valueInteger is not None:
        return Value(number=number_in_range(element.valueInteger))
    if element.valueBoolean is not None:
        return Value(text=str(element.valueBoolean).lower())
    if element.valueCodeableConcept is not None:
        return _concept(element.valueCodeableConcept)
    for name in _TEXTS:
        if (stated := getattr(element, name)) is not None:
            return _text(stated.isoformat() if isinstance(stated, date) else str(stated))
    if element.valueRange is not None:
        return _between(element.valueRange.low, element.valueRange.high, "-")
    if element.valueRatio is not None:
        return _between(element.valueRatio.numerator, element.valueRatio.denominator, ":")
    if element.valueSampledData is not None or element.valuePeriod is not None:
        raise NotUsed("unsupported-value")
    raise NotUsed("without-value")


def reference_range(element: Any) -> ReferenceRange:
    """Return the one reference range; numbers only in the unit of the value. Of several, none is chosen."""
    ranges = element.referenceRange or []
    if len(ranges) != 1:
        return ReferenceRange()
    unit = None if element.valueQuantity is None else unit_of(element.valueQuantity)
    low, high = (_limit(each, unit) for each in (ranges[0].low, ranges[0].high))
    return ReferenceRange(low=low, high=high, text=(ranges[0].text or "").strip())


def unit_of(quantity: Any) -> tuple[str, str]:
    """Return the unit and its system: the code of a system, else the unit as it is shown."""
    system = system_name(quantity.system or "")
    return (quantity.code or quantity.unit or "", system) if system else (quantity.unit or quantity.code or "", "")


def _limit(quantity: Any, unit: tuple[str, str] | None) -> float | None:
    if quantity is None or quantity.value is None or unit is None:
        return None
    stated = unit_of(quantity)
    if stated[0] and stated != unit:
        return None
    try:
        return number_in_range(quantity.value)
    except NotUsed:
        return None


def _quantity(quantity: Any) -> Value:
    if quantity.value is None:
        raise NotUsed("without-value")
    unit, system = unit_of(quantity)
    if quantity.comparator:
        if quantity.comparator not in COMPARATORS:
            raise NotUsed("unsupported-value", "a comparator that R4 does not have")
        bound = f"{quantity.comparator}{_digits(quantity.value)}"
        return Value(text=bound, comparator=quantity.comparator, unit=unit, unit_system=system)
    return Value(number=number_in_range(quantity.value), unit=unit, unit_system=system)


def _digits(value: Decimal | float) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _concept(concept: Any) -> Value:
    displays = (each.display or each.code for each in concept.coding or [] if each.display or each.code)
    text = concept.text or next(displays, "")
    if not text.strip():
        raise NotUsed("without-value")
    return Value(text=text.strip(), coded=concept_code(concept) if concept.coding else "")


def _text(text: str) -> Value:
    if not text.strip():
        raise NotUsed("without-value")
    return Value(text=text.strip())


def _between(first: Any, second: Any, sign: str) -> Value:
    digits = [_digits(each.value) if each is not None and each.value is not None else "" for each in (first, second)]
    if not any(digits):
        raise NotUsed("without-value")
    units = {unit_of(each) for each in (first, second) if each is not None}
    unit, system = next(iter(units)) if len(units) == 1 else ("", "")
    return Value(text=sign.join(digits), unit=unit, unit_system=system)
