"""Series of a DICOMweb server: searched for (QIDO-RS), fetched (WADO-RS), reports stored (STOW-RS).

A server is asked through dicomweb-client (the extra `[dicomweb]`).
"""
