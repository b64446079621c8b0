"""The sequencer: ordering, commit, publishing and the submit port; a node that may become primary."""
