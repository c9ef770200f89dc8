"""Tally a vote: reads ballots (a JSON list of choices by voter), writes result.json into the work directory."""

import collections
import json
import sys
from pathlib import Path


def main() -> None:
    ballots = json.loads(Path(sys.argv[1]).read_text())["ballots"]
    latest = {ballot["voter"]: ballot["choice"] for ballot in ballots}  # a voter may change their mind
    counts = collections.Counter(latest.values())
    quorum = len(latest) >= 5
    winner = counts.most_common(1)[0][0] if quorum else None
    result = {"voters": len(latest), "counts": dict(sorted(counts.items())), "quorum": quorum, "winner": winner}
    Path("/work/result.json").write_text(json.dumps(result, indent=2) + "\n")
    for choice, count in counts.most_common():
        print(f"{choice:<10} {count}")
    print(f"winner: {winner}")


main()
