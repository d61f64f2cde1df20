"""Hydra sweeper over a grid; `bnn.runs.grid` does the work."""

from collections.abc import Iterator, Sequence

from hydra.core.utils import JobReturn

from bnn import runs
from bnn.errors import without_password

from .sweeper import OneLineSweeper


class GridSweeper(OneLineSweeper):
    """Sweeper over all combinations of the choices of a command line and an experiment."""

    def run(self, arguments: list[str]) -> list[JobReturn]:
        """Run the distinct jobs of the grid."""
        choices = self.split_arguments(self.parsed(arguments), None)[0]
        title = without_password(" ".join(arguments))
        composer = runs.jobs.JobComposer(self.loader, self.config)
        return runs.grid.run_grid(
            composer, choices, title, self.launch, self.at_once, self.folder()
        )

    def launch(self, jobs: Sequence[Sequence[str]]) -> Iterator[JobReturn]:
        """Results of the jobs, which go to the launcher `max_batch_size` at a time."""
        launched = 0
        chunks = self.split_overrides_to_chunks([list(job) for job in jobs], self.max_batch_size)
        for chunk in chunks if jobs else ():
            words = list(chunk)
            yield from self.launcher.launch(words, initial_job_idx=launched)
            launched += len(words)
