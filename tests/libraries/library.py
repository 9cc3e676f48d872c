"""The client libraries: what each is called, how to see that it is there, and how to get it.

Not for playing their calls: see `calls`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PROGRAMS = Path(__file__).parent / "programs"


class Library(NamedTuple):
    """One library.

    Attributes:
        name: as people know it.
        program: of `programs`, which speaks to it.
        interpreter: the command that runs the program.
        probe: what the interpreter is told to run, without output, to see whether the library is there.
        install: what a person does who wants it.
        source: the environment variable that names the directory of its source, where it is in no registry of packages.
    """

    name: str
    program: str
    interpreter: tuple[str, ...]
    probe: tuple[str, ...]
    install: str
    source: str = ""

    def missing(self) -> str | None:
        """Say why it cannot be called here; None when it can."""
        if shutil.which(self.interpreter[0]) is None:
            return f"there is no {self.interpreter[0]}; {self.install}"
        if self.source and not os.environ.get(self.source):
            return f"{self.source} is not set; {self.install}"
        probe = subprocess.run(
            [*self.interpreter, *self.probe], capture_output=True, text=True, check=False, timeout=60
        )
        return None if probe.returncode == 0 else self.install

    def command(self, *arguments: str) -> list[str]:
        """Give the command line of its client or worker."""
        return [*self.interpreter, str(PROGRAMS / self.program), *arguments]


def _python(module: str, program: str) -> Library:
    return Library(
        name=f"Python {module}",
        program=program,
        interpreter=(sys.executable,),
        probe=("-c", f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"),
        install=f"pip install {module}",
    )


LIBRARIES = (
    Library(
        name="PHP gearman (pecl)",
        program="pecl_gearman.php",
        interpreter=("php",),
        probe=("-r", "exit(extension_loaded('gearman') ? 0 : 1);"),
        install="apt-get install php-cli php-gearman",
    ),
    Library(
        name="PHP Net_Gearman",
        program="net_gearman.php",
        interpreter=("php",),
        probe=("-r", "exit(is_file(getenv('NET_GEARMAN') . '/Net/Gearman/Client.php') ? 0 : 1);"),
        install="apt-get install php-cli, and set NET_GEARMAN to a copy of github.com/brianlmoon/net_gearman",
        source="NET_GEARMAN",
    ),
    Library(
        name="Perl Gearman::Client",
        program="gearman_client.pl",
        interpreter=("perl",),
        probe=("-MGearman::Client", "-MGearman::Worker", "-e", "1"),
        install="apt-get install libgearman-client-perl",
    ),
    Library(
        name="Ruby gearman-ruby",
        program="gearman_ruby.rb",
        interpreter=("ruby",),
        probe=("-e", "$:.unshift(ENV['GEARMAN_RUBY'] + '/lib') if ENV['GEARMAN_RUBY']; require 'gearman'"),
        install="gem install gearman-ruby, or set GEARMAN_RUBY to a copy of github.com/gearman-ruby/gearman-ruby",
    ),
    _python("gear", "gear_library.py"),
    _python("gearman3", "gearman3_library.py")._replace(
        probe=("-c", "import importlib.metadata; importlib.metadata.version('gearman3')")
    ),
)
IN_PYTHON = tuple(library for library in LIBRARIES if library.name.startswith("Python"))
"""Those that are among the development requirements, and so always there."""
