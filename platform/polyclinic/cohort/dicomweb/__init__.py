"""Retrieve studies from a DICOMweb server; ``retrieve`` imports dicomweb-client, and is imported when it is needed."""
