"""Leave a file that claims to be much larger than it is.

Source: archive bombs by sparse files; kubectl cp and docker cp fill the disk of whoever fetches it.
Stopped by: outputs: what is left of the size bound is checked against the claim, and again while reading.
"""

EXPECT = {"outcome": "ok", "collect": {"huge": "size bound"}, "without": ["outputs"]}

with open("huge", "wb") as file:
    file.truncate(60_000_000)
