"""`python -m mmkeras`, as the command `mmkeras`."""

import sys

from mmkeras import cli

sys.exit(cli.main())
