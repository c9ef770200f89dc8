"""Read what was meant for the caller: the rest of a here-document, the next line typed.

Source: ssh in while-read loops; password prompts.
Stopped by: streams: standard input is /dev/null unless asked for.
"""

import os
import sys

EXPECT = {"scene": "callers_stdin", "says": "nothing to read", "without": ["streams.stdin"]}

text = os.read(0, 100)
if not text:
    sys.exit("refused: nothing to read")
print("BREACH:", text)
