"""A library of the tests before the C library of a program."""

import re
import subprocess


def preload(library, program):
    """What LD_PRELOAD has to be. The run-time library of a sanitizer, where the program has one, wants to be loaded first itself; its own
    versions of the C library's functions then call those of `library`."""
    needed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return ":".join([*re.findall(r"=> (\S+/lib[at]san\.so\S*)", needed), str(library)])
