"""seqcast: sequencer-based, total-order multicast."""
