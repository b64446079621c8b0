"""The whole bus in one test: nodes, apps, network and disks on virtual time, decided by a seed."""
