"""Run a module under a sampling profiler: `python -m benchmarks.sampling FILE MODULE [ARGUMENT ...]`.

A thread looks at the stacks of all other threads about a thousand times a second and writes, when
the process ends, the lines that were on top and the functions that were on the stack. It slows the
program by a few per cent, where a tracing profiler would double the cost of every call. It sees
Python frames only: time in C counts for the line that called it.
"""

import runpy
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001
SWITCH_SECONDS = 0.0005  # the sampler must get its turn inside a busy loop, not only where that loop waits
ROWS = 40


class Sampler(threading.Thread):
    """Counts what the other threads of this process are doing until `finish` is called."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self._ended = threading.Event()
        self._samples: Counter[str] = Counter()
        self._lines: Counter[tuple[str, str]] = Counter()
        self._functions: Counter[tuple[str, str]] = Counter()

    def run(self) -> None:
        """Take samples until told to end."""
        while not self._ended.wait(INTERVAL_SECONDS):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 -- the only way to see another thread
                if ident != self.ident:
                    self._count(names.get(ident, "?"), frame)

    def _count(self, thread: str, top: FrameType) -> None:
        self._samples[thread] += 1
        self._lines[thread, f"{top.f_code.co_filename}:{top.f_lineno} {top.f_code.co_qualname}"] += 1
        functions = set()
        frame: FrameType | None = top
        while frame is not None:
            functions.add(f"{frame.f_code.co_filename} {frame.f_code.co_qualname}")
            frame = frame.f_back
        for function in functions:
            self._functions[thread, function] += 1

    def finish(self) -> str:
        """End the sampling; give the profile as text."""
        self._ended.set()
        self.join()
        rows = []
        for thread, total in self._samples.most_common():
            rows.append(f"thread {thread}: {total} samples")
            for title, counts in (("on top", self._lines), ("on the stack", self._functions)):
                rows.append(f"  {title}")
                own = Counter({what: count for (of, what), count in counts.items() if of == thread})
                rows += [f"    {count / total:6.1%}  {what}" for what, count in own.most_common(ROWS)]
        return "\n".join(rows) + "\n"


def main() -> None:
    """Run the module named on the command line and write its profile."""
    path, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    sys.setswitchinterval(SWITCH_SECONDS)
    sampler = Sampler()
    sampler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        path.write_text(sampler.finish())


if __name__ == "__main__":
    main()
