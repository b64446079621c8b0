"""What the build needs from the system, checked before anything is made; runs on any Python 3, from nothing.

Prints the one line that installs what is missing, and exits 1; silent when all is there.
"""

import importlib.util
import pathlib
import shutil
import sys
import sysconfig


def missing_packages() -> list:  # type: ignore[type-arg]
    """Names of the Debian packages that are missing for this interpreter."""
    packages = []
    if not any(shutil.which(name) for name in ("cc", "gcc")):
        packages.append("gcc")
    if not pathlib.Path("/usr/include/stdlib.h").exists():
        packages.append("libc6-dev")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.append("python3-venv")
    if not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").exists():
        packages.append("python3-dev")
    return packages


def main() -> None:
    """Check, and say what to do."""
    if sys.version_info < (3, 11):
        sys.exit("seqcast needs Python 3.11 or later; this is %d.%d" % sys.version_info[:2])
    packages = missing_packages()
    if packages:
        sys.exit("missing system packages; install them with\n  apt-get install -y " + " ".join(packages))


if __name__ == "__main__":
    main()
