"""What pyproject.toml cannot say: a wheel carries the programs and configurations that a checkout has beside the package."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Folder of the checkout -> folder in the package; tinybert_cli.py finds the programs there.
CARRIED = {"bin": "programs/bin", "tflite": "programs/tflite", "configs": "configs"}
LEFT_OUT = shutil.ignore_patterns("__pycache__", "android", "web", "node_modules", "*.md")


class BuildWithPrograms(build_py):
    """Copies the folders beside the package into it."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for source, target in CARRIED.items():
            shutil.copytree(source, Path(self.build_lib, "tinybert_tf", target), ignore=LEFT_OUT, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithPrograms})
