"""Paths in the cells of a manifest: which lead to a file below its folder."""

import os
import re
import stat


class Folder:
    """A manifest's folder, below which all its files must be.

    Args:
        path: `pathlib.Path` of the folder.
    """

    def __init__(self, path):
        self.path = path.resolve()
        self._plain = {}  # subfolder: whether it really is below the folder

    def fault(self, cell):
        """What is wrong with a cell's path, "" where it is a file below the folder."""
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", cell):
            return f"`{cell}` is a network address: download it beside the manifest"
        if cell.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", cell):
            return f"`{cell}` is absolute: name it from the manifest's folder"
        return "" if self._is_plain(cell) else self._slow_fault(cell)

    def _is_plain(self, cell):
        """Whether it is a file and no link, in a folder known to be below.

        One call of the system a file: a manifest may hold a million.
        """
        folder = os.path.dirname(cell)
        if folder not in self._plain:
            try:
                below = (self.path / folder).resolve().is_relative_to(self.path)
            except (OSError, ValueError, RuntimeError):
                below = False
            self._plain[folder] = below
        try:
            mode = os.lstat(os.path.join(self.path, cell)).st_mode
        except (OSError, ValueError):
            return False
        return self._plain[folder] and stat.S_ISREG(mode)

    def _slow_fault(self, cell):
        try:
            path = (self.path / cell).resolve()
            if not path.is_relative_to(self.path):
                return f"`{cell}` leads out of the manifest's folder"
            if path.is_file():
                return ""
            missing = "is a folder" if path.is_dir() else "does not exist"
        except (OSError, ValueError, RuntimeError) as error:  # Runtime: a loop of links
            return f"`{cell}` is no path: {error}"
        hint = "; write / between folders" if "\\" in cell else ""
        return f"the file `{cell}` {missing}{hint}"
