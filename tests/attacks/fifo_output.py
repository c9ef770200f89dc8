"""Leave a FIFO among the outputs: whoever opens it to copy it waits for ever.

Source: a reader that waits for ever (CWE-833).
Stopped by: outputs: regular files only, by their type before and O_NONBLOCK while they are opened.
"""

import os

EXPECT = {"outcome": "ok", "collect": {"trap": "not a regular file"}, "without": ["outputs"]}

os.mkfifo("trap")
