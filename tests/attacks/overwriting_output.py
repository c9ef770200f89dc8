"""Name an output like a file that the caller already has where the results go.

Source: archive extraction over existing files (CWE-73).
Stopped by: outputs: files are created, never overwritten.
"""

EXPECT = {"outcome": "ok", "collect": {"kept.txt": "exists"}, "without": ["outputs"]}

with open("kept.txt", "w") as file:
    file.write("yours no more\n")
