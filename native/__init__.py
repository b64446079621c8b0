"""The C kernels: one compiled module, `native._seqcast`, and the message table they share with Python.

Nothing here knows a protocol. Each package has one adapter (its `_native` module) that calls `lib` and
raises; `ffi` and `lib` are used by those adapters and by nothing else.
"""

try:
    from native._seqcast import ffi, lib
except ImportError as error:
    raise ImportError(
        "the C extension native._seqcast is not built: run `make` in the source tree, or `pip install .`"
    ) from error

__all__ = ["ffi", "lib"]
