"""Packaging of ubr-score: the modules of this checkout that score without torch.

They are installed as `ubr_score.*`, so that no file belongs to both distributions. This works
because these modules import each other relatively.

The released weights are exported to ONNX while the wheel is built. That needs the toolkit, so it is
built in its environment: `pip wheel --no-build-isolation --no-deps -w dist ./scorer`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[1]
RELEASED = ROOT / "weights" / "packaged"
MODULES = {
    "weights": "__init__ body components exported inputs network provenance released resample "
    "scorable sessions",
    "weights.common": "__init__ checks checksums claims commandline disk distribution doors "
    "execution helptext hu messages notes optional options pool processes progress published "
    "shapes stored working",
    "pretrain": "__init__",
    "pretrain.data": "__init__ affine digests find gridding hu index itk libraries nifti nrrd "
    "orient overviews patients scans tables volume workers",
    "pretrain.data.deeplesion": "__init__ images series table",
    "pretrain.data.dicom": "__init__ headers phases pixels series some values",
    "pretrain.data.store": "__init__ catalog files folder keys made pixels rows sources values",
    "pretrain.reading": "__init__ chosen classifier context curve deviations faults finding "
    "intervals leaps line parts reference regions stored",
    "pretrain.scores": "__init__ adding again alone command read scored scoring series slices "
    "streamed write",
}
"""Package -> the modules of it that are installed."""


class BuildPy(build_py):
    """Take these modules alone, and export the released weights."""

    def find_package_modules(self, package, package_dir):
        """The modules of a package that are installed."""
        found = super().find_package_modules(package, package_dir)
        listed = MODULES.get(package.removeprefix("ubr_score."))
        return [one for one in found if listed is None or one[1] in listed.split()]

    def run(self):
        """Build, without what an earlier build left, then add the newest released weights."""
        shutil.rmtree(Path(self.build_lib, "ubr_score"), ignore_errors=True)
        super().run()
        versions = sorted(RELEASED.glob("released-*.safetensors"), key=lambda p: (len(p.name), p))
        for path in versions[-1:]:
            folder = Path(self.build_lib, "ubr_score", "weights", "packaged").resolve()
            folder.mkdir(parents=True, exist_ok=True)
            export(path, folder / f"{path.stem}.onnx")
            for ending in (".regions.json", ".md"):
                if (beside := path.with_name(path.stem + ending)).is_file():
                    shutil.copyfile(beside, folder / beside.name)


def export(weights, onnx):
    """Export weights with the toolkit of this checkout."""
    code = (
        "import sys; from ubr import weights\n"
        "weights.export(weights.load(sys.argv[1]), sys.argv[2], to='onnx', overwrite=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, weights, onnx], cwd=ROOT)
    if done.returncode:
        raise SystemExit(
            "ubr-score: the released weights were not exported; build where the toolkit with its "
            'extra "onnx" is installed: pip wheel --no-build-isolation --no-deps -w dist ./scorer'
        )


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    setup(
        name="ubr-score",
        version="0.2.0",
        description="Body coordinates, parts and landmarks of CT scans, without a deep learning "
        "framework",
        license="Apache-2.0",
        python_requires=">=3.11",
        package_dir={
            "ubr_score": "ubr_score",
            **{f"ubr_score.{name}": f"../{name.replace('.', '/')}" for name in MODULES},
        },
        packages=["ubr_score", *(f"ubr_score.{name}" for name in MODULES)],
        install_requires=[
            "docstring_parser>=0.15",  # lets the next one show what options mean
            "jsonargparse>=4.50",
            "nibabel>=5.2",
            "numpy>=1.26",
            "onnxruntime>=1.20",
            "pydantic>=2.7",
            "pydicom>=3.0",
            "pyyaml>=6",
            "tqdm>=4.66",
        ],
        extras_require={
            "compressed": ["pylibjpeg>=2.0", "pylibjpeg-rle>=2.0", "python-gdcm>=3.0.24"],
            "fast": ["openvino>=2025.0"],
            "itk": ["SimpleITK>=2.5.6"],
            "png": ["pillow>=10.3"],
        },
        entry_points={"console_scripts": ["ubr-score=ubr_score.pretrain.scores.command:main"]},
        cmdclass={"build_py": BuildPy},
    )
