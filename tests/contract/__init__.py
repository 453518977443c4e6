"""The media API's contract, as its owner gives it."""

from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).parent / "inlet.openapi.yaml"
CONTRACT: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
