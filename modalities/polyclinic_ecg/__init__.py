"""ECG plugin: twelve-lead electrocardiograms from WFDB and DICOM files."""

from polyclinic_ecg.plugin import ECG
from polyclinic_ecg.resnet import ResNet1dEncoder

__all__ = ["ECG", "ResNet1dEncoder"]
