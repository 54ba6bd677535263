"""Packaging.

The checkout root is the import namespace `ubr` (PEP 420); why stands in DECISIONS.md, entry 1.
"""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="ubr-pretrain",
    version="0.2.0",
    description="Transfer learning from unlabelled CT: Unsupervised Body-part Regression, and "
    "its weights handed whole to detectors",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    license_files=["LICENSE"],
    python_requires=">=3.11",
    package_dir={"ubr": "."},
    packages=[
        f"ubr.{name}"
        for name in find_packages(
            include=["pretrain", "pretrain.*", "weights", "weights.*", "downstream", "downstream.*"]
        )
    ],
    package_data={
        **{f"ubr.{name}": ["py.typed"] for name in ("downstream", "pretrain")},
        "ubr.downstream.prediction": ["*.html", "*.css"],
        "ubr.pretrain.uses.audit": ["*.html", "*.css", "*.js"],
        "ubr.pretrain.uses.pages": ["*.html", "*.css", "*.js"],
        "ubr.pretrain.uses.report": ["*.html", "*.js"],
        "ubr.weights": ["packaged/*", "py.typed"],
        "ubr.weights.common": ["*.css"],
        "ubr.weights.exports": ["licenses/*.txt"],
    },
    install_requires=[
        "blosc2>=4.14.1",  # earlier ones run Python that a file asks for
        "jinja2>=3.1",
        "jsonargparse[signatures]>=4.50",
        "lightning>=2.6",
        "matplotlib>=3.8",
        "nibabel>=5.2",
        "numpy>=1.26",
        "pillow>=10.3",  # earlier ones open 16-bit PNG in another mode
        "pyarrow>=17",
        "pydantic>=2.7",
        "pydicom>=3.0",
        "pylibjpeg>=2.0",  # lets pydicom find the next one, which decodes RLE
        "pylibjpeg-rle>=2.0",
        "python-gdcm>=3.0.24",
        "pyyaml>=6",
        "safetensors>=0.7",
        "scipy>=1.12",
        "tensorboard>=2.16.2",
        "timm>=1.0.31",
        "torch>=2.10",  # earlier ones do not export the scorer to ONNX
        "torchvision>=0.25",
        "tqdm>=4.66",
    ],
    extras_require={
        "cluster": ["distributed>=2024.8"],
        "dicom": ["highdicom>=0.28"],  # earlier ones miss images in the evidence
        "dicomweb": ["dicomweb-client>=0.61", "requests>=2.31"],  # earlier: no time limit
        "fast": ["openvino>=2025.0"],
        "idc": ["idc-index-data>=25"],
        "itk": ["SimpleITK>=2.5.6"],  # earlier ones mirror NRRD in LAS, which a test compares
        "labels": ["scikit-learn>=1.5"],
        "monai": ["monai>=1.5"],
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5.4"],
        "torchio": ["torchio>=1.2"],
        "docs": ["mkdocs>=1.6,<2"],
        "dev": [
            "ubr-pretrain[cluster,dicom,dicomweb,docs,fast,itk,labels,monai,onnx,torchio]",
            "hypothesis>=6.100",
            "mypy>=1.13",
            "pycocotools>=2.0.8",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
        ],
    },
    entry_points={
        "console_scripts": [
            "ubr-pretrain=ubr.pretrain.cli:main",
            "ubr-detect=ubr.downstream.cli:main",
        ]
    },
)
