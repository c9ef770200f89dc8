"""From a plan to a process that waits to become the payload.

    supervisor        clone()  ->  init (PID 1)             -> fork ->  set-up, later the payload
      attach steps                                                       enter, set_up of each step
      "mapped"        ->           fork, drop privileges, reap           confine of each step, filter last
      writes `started`                                                   "ready" (descriptors)  -> supervisor
                                                                         <- "go"                exec

The two talk over one SOCK_SEQPACKET pair: one byte of tag, then JSON, with descriptors beside it. A payload that
could not be set up says why in the three parts of a HiveboxError. Whoever loses its peer exits: the supervisor's
death is PDEATHSIG for init, and init's death is the death of the PID namespace.
"""
