"""Print an experiment's scores over seeds and the ratios that the README states.

    python benchmarks/summary.py OUT

The last line is JSON: {"own": {...}, "others": {...}, "ratio_own": ..., "ratio_others": ...}.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from spikefield.report.tables import format_summary


def main(out: Path) -> None:
    """Read `OUT/results.csv`; own = the distilled session, others = those the student never saw."""
    results = pd.read_csv(out / "results.csv", keep_default_na=False)
    print(format_summary(results))
    r2 = results[results.metric == "r2"]
    own = r2[r2.model == "distilled"].trained_on.iloc[0].split(";")
    means = {
        where: r2[mask].groupby("model").value.mean().round(3).to_dict()
        for where, mask in {"own": r2.session.isin(own), "others": ~r2.session.isin(own)}.items()
    }
    ratio = {f"ratio_{where}": round(m["distilled"] / m["ms-lfp"], 2) for where, m in means.items() if "distilled" in m}
    print(json.dumps(means | ratio))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
