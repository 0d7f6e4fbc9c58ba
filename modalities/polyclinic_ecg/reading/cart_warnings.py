"""Tell the warnings of ecgdatakit that concern samples from those that concern other parts of a file."""

import re
import warnings
from collections.abc import Sequence

from polyclinic.modality import UnreadableSource

# What the library leaves out or cannot read besides the samples of standard leads, by the beginning of its warnings.
# Any other warning, also one of a later version, is a refusal.
_HARMLESS = re.compile(
    "|".join(
        (
            r"Additional median waveform",
            r"Mortara TYPICAL_CYCLE",
            r"Sierra XML: (?:representative beats|<repbeats>)",
            r"\d+ (?:rhythm series|representative beat series|sequence sets)",
            r"Unrecognised sequences ignored",
            r"Sampling rate \S+ Hz is not an integer",  # the exact rate is in the metadata
            r"Unit .* not recognised; value ignored",
            r"ISHNE: stored lead \d+ has spec code -9",
            r"SCP-ECG: (?:Section 1 has|Section 5 |Section 12|reference beat length)",
            r"MFER: invalid (?:birth date|measurement time)",
        )
    )
)


def refuse_doubtful(caught: Sequence[warnings.WarningMessage], title: str) -> int:
    """Refuse a file about whose samples the library has a doubt, and return the number of its other warnings.

    Args:
        caught: warnings of the library, which may quote the file.
        title: name of the format for the message.

    Raises:
        UnreadableSource: a checksum fails, data is missing, or a statement about samples was not applied.
    """
    for warning in caught:
        if warning.category.__name__ == "ChecksumWarning":
            raise UnreadableSource(f"{title} whose checksum does not match; the file was altered")
        if not _HARMLESS.match(str(warning.message)):
            raise UnreadableSource(
                f"{title} that is cut off or contradicts itself about its samples; expected a complete export"
            )
    return len(caught)
