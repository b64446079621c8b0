"""`python -m seqcast.cli`: the same as the command `seqcast`; nodes are started this way by `seqcast up`."""

from seqcast.cli import main

main(prog_name="seqcast")
