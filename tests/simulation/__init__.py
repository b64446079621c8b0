"""A deterministic simulator of the whole bus: the production code on virtual time, a seeded network, and faults.

`make sim SEEDS=500` runs many seeds, `make sim SEED=7` one. What is simulated is only what lies outside a process:
the network (`fabric`), the machine with its disk and clocks (`machine`), and the apps around the bus (`sender`,
`receiver`). Nodes, sessions, logs and C kernels are those of production. `checker` looks on, and knows nothing of
the code.
"""
