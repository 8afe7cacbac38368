"""`python -m appliance` is `appliance`."""

from appliance.cli.main import entry_point

entry_point()
