"""Builds from an empty build/lib: what an earlier build of this checkout left there would go into the wheel."""

import shutil

from setuptools import setup
from setuptools.command.build import build


class FreshBuild(build):
    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build": FreshBuild})
