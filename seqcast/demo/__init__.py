"""`seqcast demo`: the whole bus as real processes on this machine, with losses and a killed sender, checked.

- `scenario`: what happens, in order; the only module that knows the whole story
- `plan`: how many messages go where
- `feed`: the input, a generated day or a file
- `children`: the processes, and what they say
- `worker`: what runs in the processes of the sender and the receivers; `sending` and `receiving` are its work
- `outcome`: what came of it, measurements and judgement
- `display`: all that for people
"""
