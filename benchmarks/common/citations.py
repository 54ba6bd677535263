"""What the card of released weights says of the collections that they were trained on.

DOIs of collections of The Cancer Imaging Archive (TCIA) are those that the index of the Imaging
Data Commons gives for them.
"""

from __future__ import annotations

TCIA = "The Cancer Imaging Archive, https://doi.org/"
CITATIONS = {
    "ACRIN-FLT-Breast": f"ACRIN-FLT-Breast. {TCIA}10.7937/K9/TCIA.2017.ol20zmxg",
    "C4KC-KiTS": f"C4KC-KiTS. {TCIA}10.7937/TCIA.2019.IX49E8NX",
    "CMB-CRC": f"Cancer Moonshot Biobank, Colorectal Cancer. {TCIA}10.7937/DJG7-GZ87",
    "CT COLONOGRAPHY": f"CT Colonography (ACRIN 6664). {TCIA}10.7937/K9/TCIA.2015.NWTESAY1",
    "Colorectal-Liver-Metastases": f"Colorectal-Liver-Metastases. {TCIA}10.7937/QXK2-QG03",
    "LCTSC": f"Lung CT Segmentation Challenge 2017. {TCIA}10.7937/K9/TCIA.2017.3R3FVZ08",
    "LIDC-IDRI": f"LIDC-IDRI. {TCIA}10.7937/K9/TCIA.2015.LO9QL9SX",
    "Lung-Fused-CT-Pathology": f"Lung Fused-CT-Pathology. {TCIA}10.7937/K9/TCIA.2018.SMT36LPN",
    "Lung-PET-CT-D": f"Lung-PET-CT-Dx. {TCIA}10.7937/TCIA.2020.NNC2-0461",
    "NSCLC Radiogenomics": f"NSCLC Radiogenomics. {TCIA}10.7937/K9/TCIA.2017.7HS46ERV",
    "Pancreatic-CT-CBCT-SEG": f"Pancreatic-CT-CBCT-SEG. {TCIA}10.7937/TCIA.ESHQ-4D90",
    "Pelvic-Reference-Data": f"Pelvic-Reference-Data. {TCIA}10.7937/TCIA.2019.WOSKQ5OO",
    "RIDER Pilot": f"RIDER Pilot. {TCIA}10.7937/M87F-MZ83",
    "OpenKBP": "Babier et al., OpenKBP, Medical Physics 48 (2021), "
    "https://doi.org/10.1002/mp.14845, made from head-and-neck radiotherapy collections of TCIA",
    "e0404/matRad": "Craft et al., the CORT dataset, GigaScience 3:37 (2014), "
    "https://doi.org/10.1186/2047-217X-3-37",
    "wasserth/TotalSegmentator": "Wasserthal et al., TotalSegmentator, Radiology: Artificial "
    "Intelligence 5 (2023), https://doi.org/10.1148/ryai.230024",
}
"""A citation by what the name of a collection in a catalog begins with."""
STARTS = {
    "df7e96a70ab2a992a1d05315dffa187ac3bec8032f7e944440476169327ad0ef": (
        "EfficientNet-Lite0 trained on ImageNet-1k, from Google's TensorFlow release; timm's "
        "`tf_efficientnet_lite0`, Apache-2.0"
    ),
}
"""The origin of a file that training started from, by its SHA-256."""


def citation_of(collection: str) -> str:
    """What to cite for a collection; its name, where there is no paper or DOI of its own."""
    return next(
        (text for begins, text in CITATIONS.items() if collection.startswith(begins)), collection
    )
