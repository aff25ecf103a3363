"""Check the main job: the kept weights and the accuracy of the run whose output is in a file."""

import json
import re
import sys
from pathlib import Path

(path,) = re.findall(r"^result: (.*)$", Path(sys.argv[1]).read_text(), re.MULTILINE)
result = json.loads(Path(path).read_text())
assert result["kept"] == 5020 and result["connected"], result
assert result["final"]["top1"] >= 95, result["final"]
print(f"main job: kept {result['kept']:,} weights, final top-1 {result['final']['top1']:.2f} %")
