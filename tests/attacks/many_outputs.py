"""Leave more files than anyone wants to have.

Source: inode exhaustion where the results go (CWE-400).
Stopped by: outputs: a bound on their number (20 in this test).
"""

EXPECT = {"outcome": "ok", "collect": {"": "more than 20 files"}, "without": ["outputs"]}

for number in range(200):
    with open(f"file{number}", "w") as file:
        file.write("x")
