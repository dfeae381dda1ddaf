"""What every training makes once a process: imported last before ``warm`` forks, so that each fork has it."""

import gc

from netwright.diagnosis import judging
from netwright.reporting import page

page._template(page.REPORT)
judging.load_rules()
gc.collect()
gc.freeze()  # nothing of it is ever freed: a collection in a fork would walk through it, and copy its memory
