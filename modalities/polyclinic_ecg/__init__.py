"""ECG plugin: twelve-lead electrocardiograms from WFDB, DICOM, the exports of ECG carts, and CSV."""

from polyclinic_ecg.plugin import ECG
from polyclinic_ecg.reading.cart_facts import cart_facts
from polyclinic_ecg.resnet import ResNet1dEncoder

__all__ = ["ECG", "ResNet1dEncoder", "cart_facts"]
