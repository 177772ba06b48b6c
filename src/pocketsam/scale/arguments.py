"""Where a job over shards runs, as arguments of a command line: --ray ADDRESS --parquet."""

from dataclasses import dataclass, field

from pocketsam.utils.options import option


@dataclass(frozen=True)
class ScaleArguments:
    """Options that the commands share which work on shards.

    ray: the cluster; None for this process. parquet: whether the masks of a shard become Parquet instead of tar.
    """

    ray: str | None = field(
        default=None,
        metadata=option(
            str,
            "Work on a Ray cluster: its address, such as 10.0.0.1:6379; auto for the one that this machine is"
            " part of; local to start one on this machine alone.",
            metavar="ADDRESS",
        ),
    )
    parquet: bool = field(
        default=False,
        metadata=option(
            bool, "Store the masks of a tar shard as Parquet instead of tar, a row for each mask."
        ),
    )
