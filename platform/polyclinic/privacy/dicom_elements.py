"""The closed list of DICOM elements that may leave, each with the rule that its value has to pass.

The list holds the elements that a model or a reader of the plugins needs; no other element is copied. It holds no free
text: a description, a comment, a station or a device may name a person or a place.
"""

from collections.abc import Mapping

from polyclinic.privacy.dicom_rules import channel_source, codes, items, lookup_tables
from polyclinic.privacy.dicom_values import (
    Rule,
    age,
    day,
    day_and_time,
    label,
    number,
    orientation,
    padding,
    sample_padding,
    samples,
    sop_class,
    terms,
    time,
    uid,
    whole,
)

_VIEWS = {
    ("SRT", "R-10202"): "frontal",
    ("SRT", "R-10204"): "frontal oblique",
    ("SRT", "R-10206"): "antero-posterior",
    ("SRT", "R-10208"): "antero-posterior oblique",
    ("SRT", "R-10214"): "postero-anterior",
    ("SRT", "R-10216"): "postero-anterior oblique",
    ("SRT", "R-10224"): "medio-lateral",
    ("SRT", "R-10228"): "latero-medial",
    ("SRT", "R-10232"): "right lateral",
    ("SRT", "R-10236"): "left lateral",
    ("SCT", "260421001"): "left lateral",
    ("SCT", "260422008"): "right lateral",
    ("SCT", "272479007"): "postero-anterior",
    ("SCT", "399067008"): "lateral",
    ("SCT", "399348003"): "antero-posterior",
}
_ANATOMY = {
    ("SRT", "T-D3000"): "chest",
    ("SRT", "T-D3300"): "chest wall",
    ("SRT", "T-28000"): "lung",
    ("SRT", "T-32000"): "heart",
    ("SRT", "T-D4000"): "abdomen",
    ("SRT", "T-D1100"): "head",
    ("SRT", "T-D6000"): "pelvis",
    ("SCT", "51185008"): "chest",
    ("SCT", "78904004"): "chest wall",
    ("SCT", "39607008"): "lung",
    ("SCT", "80891009"): "heart",
    ("SCT", "818981001"): "abdomen",
    ("SCT", "69536005"): "head",
    ("SCT", "12921003"): "pelvis",
}
_UNITS = {
    ("UCUM", code): meaning
    for code, meaning in {
        **{"mV": "millivolt", "uV": "microvolt", "nV": "nanovolt", "V": "volt", "mm[Hg]": "mmHg", "Pa": "pascal"},
        **{"kPa": "kilopascal", "cm[H2O]": "cmH2O", "%": "percent", "1": "no units", "/min": "per minute"},
        **{"Cel": "degrees Celsius", "Ohm": "ohm", "Hz": "hertz", "dB": "decibel", "s": "second", "ms": "millisecond"},
        **{"A": "ampere", "mA": "milliampere", "L/min": "liter per minute", "ml/s": "milliliter per second"},
    }.items()
}

_CHANNEL: Mapping[str, Rule] = {
    "WaveformChannelNumber": whole(0, 999),
    "ChannelLabel": label,
    "ChannelStatus": terms("OK, TEST DATA, DISCONNECTED, QUESTIONABLE, INVALID, UNCALIBRATED, UNZEROED"),
    "ChannelSourceSequence": channel_source,
    "ChannelSensitivity": number(-999_999, 999_999, exact=True),
    "ChannelSensitivityUnitsSequence": codes(_UNITS),
    "ChannelSensitivityCorrectionFactor": number(-9999, 9999, exact=True),
    "ChannelBaseline": number(-999_999, 999_999, exact=True),
    "ChannelTimeSkew": number(-9999, 9999),
    "ChannelSampleSkew": number(-9999, 9999),
    "ChannelOffset": number(-9999, 9999),
    "WaveformBitsStored": whole(1, 64),
    "FilterLowFrequency": number(0, 99_999),
    "FilterHighFrequency": number(0, 99_999),
    "NotchFilterFrequency": number(0, 9999),
    "NotchFilterBandwidth": number(0, 9999),
}
_MULTIPLEX_GROUP: Mapping[str, Rule] = {
    "MultiplexGroupTimeOffset": number(0, 999_999),
    "MultiplexGroupLabel": terms("RHYTHM, MEDIAN, MEDIAN BEAT, AVERAGE BEAT, AVERAGED BEAT, REPRESENTATIVE BEAT"),
    "WaveformOriginality": terms("ORIGINAL, DERIVED"),
    "NumberOfWaveformChannels": whole(1, 9999),
    "NumberOfWaveformSamples": whole(1, 50_000_000),
    "SamplingFrequency": number(0, 99_999, exact=True),
    "ChannelDefinitionSequence": items(_CHANNEL),
    "WaveformBitsAllocated": whole(8, 64),
    "WaveformSampleInterpretation": terms("SB, UB, MB, AB, SS, US, SL, UL, SV, UV"),
    "WaveformPaddingValue": sample_padding,
    "WaveformData": samples,
}

_IDS: Mapping[str, Rule] = {
    "SOPClassUID": sop_class,
    **dict.fromkeys(("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"), uid),
    **dict.fromkeys(("SeriesNumber", "AcquisitionNumber", "InstanceNumber"), whole(0, 9999)),
}
_TIMES: Mapping[str, Rule] = {
    **dict.fromkeys(("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"), day),
    **dict.fromkeys(("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"), time),
    "AcquisitionDateTime": day_and_time,
    "LongitudinalTemporalInformationModified": terms("UNMODIFIED, MODIFIED, REMOVED"),
}
_PATIENT: Mapping[str, Rule] = {
    "PatientSex": terms("F, M, O"),
    "PatientAge": age,
    "PatientSize": number(0.2, 2.6),
    "PatientWeight": number(0.2, 500),
}
_ACQUISITION: Mapping[str, Rule] = {
    "Modality": terms("CR, DX, RF, XA, MG, IO, PX, RG, XC, OT, CT, MR, US, ECG, HD, EPS, RESP, AU"),
    "ConversionType": terms("DV, DI, DF, WSD, SD, SI, DRW, SYN"),
    "ImageType": terms(
        "ORIGINAL, DERIVED, PRIMARY, SECONDARY, AP, PA, LATERAL, POST_PROCESSED, PROJECTION, AXIAL, LOCALIZER, VOLUME"
    ),
    "PresentationIntentType": terms("FOR PRESENTATION, FOR PROCESSING"),
    "BodyPartExamined": terms(
        "CHEST, THORAX, LUNG, HEART, RIB, STERNUM, CLAVICLE, SHOULDER, ABDOMEN, PELVIS, SPINE, TSPINE, CSPINE, LSPINE, "
        "SKULL, HEAD, NECK, ARM, HUMERUS, ELBOW, FOREARM, WRIST, HAND, HIP, LEG, FEMUR, KNEE, ANKLE, FOOT, WHOLEBODY"
    ),
    "ViewPosition": terms("AP, PA, LL, RL, RLD, LLD, RLO, LLO, LAO, RAO, LPO, RPO, LAT, LATERAL, LORDOTIC"),
    **dict.fromkeys(("Laterality", "ImageLaterality"), terms("R, L, U, B")),
    "PatientOrientation": orientation,
    "PatientPosition": terms("HFP, HFS, HFDR, HFDL, FFP, FFS, FFDR, FFDL"),
    "ViewCodeSequence": codes(_VIEWS),
    "AnatomicRegionSequence": codes(_ANATOMY),
    "DetectorType": terms("DIRECT, SCINTILLATOR, STORAGE, FILM"),
    "FieldOfViewShape": terms("RECTANGLE, ROUND, HEXAGONAL"),
    "KVP": number(1, 999),
    "ExposureTime": whole(0, 99_999),
    "XRayTubeCurrent": whole(0, 9999),
    "Exposure": whole(0, 9999),
    "DistanceSourceToDetector": number(0, 9999),
    "DistanceSourceToPatient": number(0, 9999),
    "EstimatedRadiographicMagnificationFactor": number(0.1, 99),
    "Sensitivity": number(0, 99_999),
    "ExposureIndex": number(0, 99_999),
    "TargetExposureIndex": number(0, 99_999),
    "DeviationIndex": number(-99, 99),
    **dict.fromkeys(("BurnedInAnnotation", "RecognizableVisualFeatures"), terms("YES, NO")),
}
_SPACING = number(0.001, 99, most=2, exact=True)
_PIXELS: Mapping[str, Rule] = {
    **dict.fromkeys(("Rows", "Columns"), whole(1, 65_535)),
    **dict.fromkeys(("SamplesPerPixel", "BitsAllocated", "BitsStored"), whole(1, 64)),
    "NumberOfFrames": whole(1, 9999),
    "HighBit": whole(0, 63),
    **dict.fromkeys(("PixelRepresentation", "PlanarConfiguration"), whole(0, 1)),
    "PhotometricInterpretation": terms(
        "MONOCHROME1, MONOCHROME2, RGB, PALETTE COLOR, YBR_FULL, YBR_FULL_422, YBR_PARTIAL_420, YBR_ICT, YBR_RCT"
    ),
    **dict.fromkeys(("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"), _SPACING),
    "PixelSpacingCalibrationType": terms("GEOMETRY, FIDUCIAL"),
    "PixelAspectRatio": whole(1, 65_535, most=2),
    **dict.fromkeys(("PixelPaddingValue", "PixelPaddingRangeLimit"), padding),
    "LossyImageCompression": terms("00, 01"),
}
_DISPLAY: Mapping[str, Rule] = {
    **dict.fromkeys(("RescaleSlope", "RescaleIntercept"), number(-999_999, 999_999, exact=True)),
    "RescaleType": terms("HU, OD, US, PCT"),
    **dict.fromkeys(("WindowCenter", "WindowWidth"), number(-999_999, 999_999, most=16, exact=True)),
    "VOILUTFunction": terms("LINEAR, LINEAR_EXACT, SIGMOID"),
    **dict.fromkeys(("ModalityLUTSequence", "VOILUTSequence"), lookup_tables),
    "PresentationLUTShape": terms("IDENTITY, INVERSE, LIN OD"),
    "PixelIntensityRelationship": terms("LIN, LOG, DISP"),
    "PixelIntensityRelationshipSign": whole(-1, 1),
}
_POSITION: Mapping[str, Rule] = {"ImagePositionPatient": number(-99_999, 99_999, most=3, exact=True)}
_ORIENTATION: Mapping[str, Rule] = {"ImageOrientationPatient": number(-1, 1, most=6, exact=True)}
_DISTANCES: Mapping[str, Rule] = {
    **dict.fromkeys(("SliceThickness", "SpacingBetweenSlices"), number(0, 999, exact=True)),
}
_SLICES: Mapping[str, Rule] = {
    **_POSITION,
    **_ORIENTATION,
    **_DISTANCES,
    "SliceLocation": number(-99_999, 99_999, exact=True),
    "GantryDetectorTilt": number(-90, 90, exact=True),
}
_FRAME: Mapping[str, Rule] = {
    "PlanePositionSequence": items(_POSITION),
    "PlaneOrientationSequence": items(_ORIENTATION),
    "PixelMeasuresSequence": items({"PixelSpacing": _SPACING, **_DISTANCES}),
    "PixelValueTransformationSequence": items(
        {name: _DISPLAY[name] for name in ("RescaleSlope", "RescaleIntercept", "RescaleType")}
    ),
}

ELEMENTS: Mapping[str, Rule] = {
    **_IDS,
    **_TIMES,
    **_PATIENT,
    **_ACQUISITION,
    **_PIXELS,
    **_DISPLAY,
    **_SLICES,
    **dict.fromkeys(("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"), items(_FRAME)),
    "WaveformSequence": items(_MULTIPLEX_GROUP),
}
"""Rules by keyword. Pixel data are not among them: a plugin writes them as decoded."""
