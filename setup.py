"""The packages of the wheel: those of the project, and two folders of data that lie beside them in the checkout."""

from setuptools import find_packages, setup

DATA = {"sifigan_triton.measurement_data": "measurement_data", "sifigan_triton.voices.demo": "voices/demo"}

setup(
    packages=[*find_packages(include=["preprocess*", "postprocess*", "sifigan_triton*"]), *DATA],
    package_dir=DATA,
)
