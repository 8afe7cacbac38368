"""`appliance doctor`: whether this machine is as the appliance needs it."""

from dataclasses import asdict

import click

from appliance.cli.guard import free
from appliance.cli.output import print_field, print_json, print_line
from appliance.config import Config
from appliance.core.health import worst_exit_code

MARKS = {"ok": "ok", "warn": "TO KNOW", "bad": "BAD"}


@click.command()
@click.option("--full", is_flag=True, help="Prove every entry of the log.")
@click.option("--offline", is_flag=True, help="Do the main job where there is no network, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@free
@click.pass_obj
def doctor(config: Config, full: bool, offline: bool, as_json: bool) -> int:
    """Look at clock, disk, permissions, log, guidelines, release, model and network silence.

    Shows no patient's data, so anybody may run it. Exit codes: 0 nothing is bad; 1 something is;
    3 no release or no guidelines; 4 the log is broken.
    """
    from appliance.wiring import find_faults, prove_offline

    findings = find_faults(config, full=full)
    if offline:
        findings.append(prove_offline(config))
    code = worst_exit_code(findings)
    if as_json:
        print_json({"exit_code": code, "findings": [asdict(finding) for finding in findings]})
        return code
    for finding in findings:
        print_field(finding.name, f"{MARKS[finding.state]}: {finding.text}")
        if finding.state != "ok" and finding.hint:
            print_field("", f"-> {finding.hint}")
    bad, warned = (sum(one.state == state for one in findings) for state in ("bad", "warn"))
    print_line(f"{len(findings)} looked at: {bad} bad, {warned} to know")
    return code
