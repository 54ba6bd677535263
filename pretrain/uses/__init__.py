"""What scores are used for: parts and landmarks, crops, levels, reports, DICOM."""
