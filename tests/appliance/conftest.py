"""Makes the stand-ins importable whichever folder pytest is run from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
