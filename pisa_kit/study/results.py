"""What a run leaves to be read: figures, moving pictures, and each notebook's numbers."""

import base64
from pathlib import Path

from pisa_kit.core.storage import atomic_path, plain, read_json, write_json


class Results:
    """A run's results below `folder`: figures and results/<notebook>.json."""

    folder: Path

    def save_figure(self, figure, name: str):
        """Writes the figure as figures/<name>.png and returns it, so that the notebook shows it too."""
        with atomic_path(self.folder / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=110)
        return figure

    def save_animation(self, data: bytes, name: str) -> str:
        """Writes a moving WebP as figures/<name>.webp and returns HTML that shows it."""
        with atomic_path(self.folder / "figures" / f"{name}.webp") as temporary:
            temporary.write_bytes(data)
        return f'<img alt="{name}" src="data:image/webp;base64,{base64.b64encode(data).decode()}">'

    def save_results(self, notebook: str, results: dict) -> Path:
        """Writes a notebook's numbers as results/<notebook>.json (numpy values allowed, NaN becomes null)."""
        path = self.folder / "results" / f"{notebook}.json"
        write_json(path, plain(results))
        return path

    def results(self, notebook: str) -> dict:
        """What an earlier notebook saved."""
        return read_json(self.folder / "results" / f"{notebook}.json")

    def has_results(self, notebook: str) -> bool:
        """Has the notebook saved anything?"""
        return (self.folder / "results" / f"{notebook}.json").exists()
