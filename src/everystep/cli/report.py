"""`report`: a run on one page."""

from everystep.cli.options import Debug, Quiet, RunFolder


def report(run: RunFolder, quiet: Quiet = False, debug: Debug = False) -> None:
    """Make the report of a run, RUN/report/index.html: one page that needs nothing else."""
    from everystep.core.run import read_run
    from everystep.show.report import write_report

    page = write_report(read_run(run))
    if not quiet:
        print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
