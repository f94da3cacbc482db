"""How ops ran: from the plans that WEFT_LOG=debug writes."""

import os
import re
import tempfile


class PlanLog:
    """The plans that were made meanwhile, from what WEFT_LOG=debug writes."""

    def __enter__(self) -> "PlanLog":
        self.file = tempfile.TemporaryFile()
        self.saved = os.dup(2)
        os.dup2(self.file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self.saved, 2)
        os.close(self.saved)
        self.file.seek(0)
        self.text = self.file.read().decode(errors="replace")
        self.file.close()

    def ops(self) -> dict[str, tuple[str, str]]:
        """What each op is: ruled, composite or gathered (where any plan of it is), and why it is gathered."""
        out: dict[str, tuple[str, str]] = {}
        for line in self.text.splitlines():
            m = re.search(r"\[([\w:.]+)\] .* -> ?", line)
            if not m or out.get(m[1], ("",))[0] == "gathered":
                continue
            if why := re.search(r" gathered \((.*?)\)(;|  planned)", line):
                out[m[1]] = ("gathered", why[1])
            else:
                out[m[1]] = ("composite" if "as other ops on the shards" in line else "ruled", "")
        return out
