"""`plenish report`."""

from __future__ import annotations

from plenish.invocation import command
from plenish.report.build import write_report as _write

write_report = command("report")(_write)
