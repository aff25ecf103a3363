"""Draw docs/play.gif, an animated picture of play.html: `python -m docs.animate`."""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from proofs_tests.tools.browsers import program

HERE = Path(__file__).parent
WINDOW = (1200, 1120)
CROP = (12, 552, 732, 1092)  # the sentence of the moment, the buttons and the network
FRAMES = [  # method, steps taken, milliseconds
    ("one-shot", 0, 2600),
    ("one-shot", 1, 3200),
    ("algorithm-1", 0, 2200),
    ("algorithm-1", 1, 2200),
    ("algorithm-1", 2, 3200),
]


def frame(method: str, step: int, folder: Path) -> Image.Image:
    """Photograph the page after some steps of a method."""
    path = folder / f"{method}-{step}.png"
    address = f"{(HERE / 'play.html').as_uri()}#theme=light&method={method}&step={step}"
    size = f"--window-size={WINDOW[0]},{WINDOW[1]}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size]
    profile = f"--user-data-dir={folder / 'profile'}"
    wait = "--virtual-time-budget=3000"
    command = [program("chromium"), *options, profile, wait, f"--screenshot={path}", address]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return Image.open(path).convert("RGB").crop(CROP)


def main() -> None:
    """Write the pictures of FRAMES, one after the other and again from the first."""
    if not program("chromium"):
        sys.exit("docs.animate found no Chromium: install the package chromium")
    with tempfile.TemporaryDirectory() as folder:
        pictures = [frame(method, step, Path(folder)) for method, step, _ in FRAMES]
    first, *others = [picture.quantize(64, dither=Image.Dither.NONE) for picture in pictures]
    times = [duration for *_, duration in FRAMES]
    options = {"append_images": others, "duration": times, "loop": 0, "optimize": True}
    first.save(HERE / "play.gif", save_all=True, **options)


if __name__ == "__main__":
    main()
