"""The script's file is replaced after it was hashed and before it runs.

Source: time of check, time of use (CWE-367): sudo's digest lists, CVE-2015-8239.
Stopped by: script: read once into a sealed copy; that copy is hashed and run.
"""

import sys

EXPECT = {"scene": "swapped_script", "says": "the true one", "without": ["script"]}

sys.exit("refused: I am the true one")
