"""Where the tools that judge images and charts exist, they must be there; elsewhere these tests are not collected."""

import platform
import sys

TOOLS_EXIST = sys.platform == "linux" and platform.machine() == "x86_64"
"""hadolint, Helm and Compose are on the package index for this platform alone (see pyproject.toml)."""

collect_ignore_glob = [] if TOOLS_EXIST else ["test_*.py"]


def pytest_report_header() -> str | None:
    return None if TOOLS_EXIST else "packaging: not tested here, its tools exist for Linux on x86-64 only"
