"""Build recipe of the one extension module, `native._seqcast`.

The declarations that Python may call are not written twice: each header marks them with
`/* [cdef] */ ... /* [/cdef] */`, and this script hands exactly those lines to cffi.

Environment: `SEQCAST_SANITIZE=1` builds with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HEADERS = (
    "message.h",
    "crc32c.h",
    "record.h",
    "mold.h",
    "soup.h",
    "segment.h",
    "window.h",
    "datagrams.h",
    "senders.h",
    "follow.h",
    "order.h",
    "answers.h",
    "trace.h",
    "publish.h",
    "feed.h",
    "outbox.h",
    "delivery.h",
    "wait.h",
    "latency.h",
    "express.h",
)

_CDEF = re.compile(r"/\* \[cdef\] \*/(.*?)/\* \[/cdef\] \*/", re.DOTALL)

headers = [name for name in HEADERS if (HERE / "src" / name).exists()]
sources = sorted((HERE / "src").glob("*.c"))

flags = ["-O3", "-std=c11", "-Wall", "-Wextra", "-fno-strict-aliasing"]
link_flags: list[str] = []
if os.environ.get("SEQCAST_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
    flags += sanitize
    link_flags += sanitize

ffi = FFI()
for name in headers:
    for declarations in _CDEF.findall((HERE / "src" / name).read_text(encoding="ascii")):
        ffi.cdef(declarations)
ffi.set_source(
    "native._seqcast",
    "".join(f'#include "{name}"\n' for name in headers),
    sources=[str(path.relative_to(ROOT)) for path in sources],
    include_dirs=["native/src"],
    depends=[str(path.relative_to(ROOT)) for path in sorted((HERE / "src").glob("*.h"))],
    extra_compile_args=flags,
    extra_link_args=link_flags,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
