"""Run a module under a sampling profiler: `python -m benchmarks.sampling FILE MODULE [ARGUMENT ...]`.

The kernel's profiling timer counts the CPU time of the process and interrupts the main thread, which
notes its own stack and those of the other threads; when the process ends, the lines that were on top
and the functions that were on the stack are written to the file. A thread that samples would not do:
it gets its turn when the event loop waits, and so would see nothing but waiting. Time in C counts for
the Python line that called it, and time in the event loop's own C code for the callback it calls next.
"""

import runpy
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.001  # of CPU time; the kernel may round it up to its tick
ROWS = 40


class Sampler:
    """Counts what the threads of this process are doing while it uses the CPU."""

    def __init__(self) -> None:
        self._total = 0
        self._lines: Counter[tuple[str, str]] = Counter()
        self._functions: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Start the timer; to be called in the main thread."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def _sample(self, _signal: int, interrupted: FrameType | None) -> None:
        self._total += 1
        main = threading.main_thread()
        if interrupted is not None:
            self._count(main.name, interrupted)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 -- the only way to see another thread
            if ident != main.ident:
                self._count(names.get(ident, "?"), frame)

    def _count(self, thread: str, top: FrameType) -> None:
        self._lines[thread, f"{top.f_code.co_filename}:{top.f_lineno} {top.f_code.co_qualname}"] += 1
        functions = set()
        frame: FrameType | None = top
        while frame is not None:
            functions.add(f"{frame.f_code.co_filename} {frame.f_code.co_qualname}")
            frame = frame.f_back
        for function in functions:
            self._functions[thread, function] += 1

    def finish(self) -> str:
        """Stop the timer; give the profile as text."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        rows = [f"{self._total} samples of CPU time"]
        for thread in dict.fromkeys(thread for thread, _what in self._lines):
            for title, counts in (("on top", self._lines), ("on the stack", self._functions)):
                rows.append(f"thread {thread}, {title}")
                own = Counter({what: count for (of, what), count in counts.items() if of == thread})
                rows += [f"  {count / self._total:6.1%}  {what}" for what, count in own.most_common(ROWS)]
        return "\n".join(rows) + "\n"


def main() -> None:
    """Run the module named on the command line and write its profile."""
    path, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    sampler = Sampler()
    sampler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        path.write_text(sampler.finish())


if __name__ == "__main__":
    main()
